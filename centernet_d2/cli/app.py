"""The verb `app`: a page in the browser to try detectors on pictures."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import tempfile
import threading
from pathlib import Path

import cv2

from ..app.models import EXPORTED, Models, local_weights
from ..engine.processes import at_signals
from ..engine.terminal import start_logging
from ..engine.user_modules import import_all
from ..inference.find_images import find_images, is_video
from ..missing import needed_by
from ..synthetic.files import make_scenes
from ..synthetic.pictures import render
from ..synthetic.settings import FigureSettings, ShapeSettings, SplitSettings, StreetSettings
from ..synthetic.street_pictures import render_street

logger = logging.getLogger(__name__)

_MOST_EXAMPLES = 12


def run(args: argparse.Namespace) -> int:
    """Serve the page until a signal; return the exit status."""
    start_logging(verbose=args.verbose)
    if wrong := [name for name in args.model if not name.endswith(EXPORTED)]:
        told = f"--model '{wrong[0]}' ends neither in .onnx nor in .xml: weights go with --weights"
        raise ValueError(told)
    port = free_port(args.host, args.port)
    weights = args.weights or ([] if args.model else local_weights())
    models = Models([*weights, *args.model], args.opts, import_all(args.imports))
    with tempfile.TemporaryDirectory(prefix="centernet_d2_app.") as folder:
        settle(folder, args.host)
        with needed_by("The page"):
            from ..app.page import build, serve
        page = build(models, examples(args.examples, Path(folder)), Path(folder))
        stopped = threading.Event()
        with at_signals(lambda *_: stopped.set()):
            address = serve(page, args.host, port)
            logger.info("models: %s", ", ".join(models.labels))
            if args.host not in ("127.0.0.1", "::1", "localhost"):
                logger.warning("Whoever reaches this machine can use the page; it has no password.")
            logger.info("%s is the page; Ctrl-C ends it.", address)
            while not stopped.wait(1):  # Windows hears no signal in a longer wait
                pass
        page.close(verbose=False)
    return 0


def settle(folder: str, host: str) -> None:
    """Say to Gradio, before it is imported, to call nobody and where to keep what is uploaded."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    near = ",".join(
        [*filter(None, [known]), "127.0.0.1", "localhost", host]
    )  # it asks its own page
    os.environ |= {"no_proxy": near, "NO_PROXY": near, "GRADIO_TEMP_DIR": folder}
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}


def free_port(host: str, port: int) -> int:
    """The port, of 0 one that is free; OSError where the page cannot be there."""
    try:
        family = socket.getaddrinfo(host, port)[0][0]
        with socket.socket(family) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
            return tried.getsockname()[1]
    except OSError as error:
        raise OSError(
            f"the page cannot be at --host {host} --port {port} ({error.strerror}): give another "
            "port, 0 for one that is free, or the address of this machine"
        ) from error


def examples(given: str | None, folder: Path) -> list[str]:
    """Files of example pictures: of a folder or, generated into `folder`, one of each world."""
    if given:
        files = [file for file in find_images([given], option="--examples") if not is_video(file)]
        if more := files[_MOST_EXAMPLES:]:
            logger.info("The first %d examples are shown, %d not.", _MOST_EXAMPLES, len(more))
        return files[:_MOST_EXAMPLES]
    worlds = {
        "shapes": (ShapeSettings(), lambda scene, random: render(scene, 128, random)),
        "figures": (FigureSettings(), lambda scene, random: render(scene, 128, random)),
        "street": (StreetSettings(), lambda scene, random: render_street(scene, random)[0]),
    }
    files = [str(folder / f"{name}.png") for name in worlds]
    for file, (scenes, draw) in zip(files, worlds.values(), strict=True):
        cv2.imwrite(file, draw(*next(make_scenes(SplitSettings(images=6, seed=4, scenes=scenes)))))
    return files
