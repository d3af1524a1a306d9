"""The verb `app`: a page in the browser to try detectors on pictures."""

import argparse
import logging
import os
import socket
import tempfile
import threading
from pathlib import Path

from ..app.pictures import loader, local_weights
from ..engine.processes import at_signals
from ..engine.terminal import start_logging
from ..engine.user_modules import import_all
from ..inference.find_images import WRITABLE_ENDINGS
from ..inference.runtime import generated_pictures
from ..missing import needed_by
from ..visualization.canvas import write_picture

logger = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    start_logging(verbose=args.verbose)
    port, stopped = free_port(args.host, args.port), threading.Event()
    names = [*args.weights, *args.model] or local_weights()
    load = loader(names, args.opts, add_keys=import_all(args.imports))
    with tempfile.TemporaryDirectory(prefix="centernet_d2_app.") as folder:
        # Read by Gradio: it calls nobody, asks its own page without a proxy, and keeps files here.
        known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or args.host
        os.environ |= dict.fromkeys(("no_proxy", "NO_PROXY"), f"{known},127.0.0.1,localhost")
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder}
        with needed_by("The page"):
            from ..app.page import LAUNCH, build
        page = build(names, load, examples(args.examples, Path(folder)), Path(folder))
        with at_signals(lambda *_: stopped.set()):
            _, address, _ = page.launch(server_name=args.host, server_port=port, **LAUNCH)
            logger.info("models: %s", ", ".join(names))
            logger.info("%s is the page; Ctrl-C ends it.", address)
            while not stopped.wait(1):  # Windows hears no signal in a longer wait
                pass
        page.close(verbose=False)
    return 0


def free_port(host: str, port: int) -> int:
    """The port, of 0 one that is free; OSError where the page cannot be there."""
    try:
        with socket.create_server((host, port)) as tried:
            return tried.getsockname()[1]
    except OSError as error:
        told = f"the page cannot be at --host {host} --port {port}, {error.strerror}: give another"
        raise OSError(f"{told} port, 0 for a free one, or an address of this machine") from error


def examples(given: str | None, folder: Path) -> list[str]:
    """Files of example pictures: of a folder or, generated into `folder`, of shapes."""
    if not given:
        given = str(folder / "examples")
        for name, picture in generated_pictures([(256, 256)] * 2):
            write_picture(f"{given}/{name}.png", picture)
    files = [str(file) for file in sorted(Path(given).glob("*"))]
    if found := [file for file in files if file.lower().endswith(WRITABLE_ENDINGS)][:12]:
        return found
    raise FileNotFoundError(f"--examples '{given}' is no folder with pictures: correct it")
