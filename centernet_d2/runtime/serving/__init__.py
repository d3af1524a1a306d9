"""A detector behind HTTP: pictures in, JSON or drawn pictures out (docs/serving.md); no torch."""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any


def _option(default: Any, told: str, least: float = 1) -> Any:
    return field(default=default, metadata={"told": f"{told}; default: {default}", "least": least})


@dataclass(frozen=True)
class Options:
    """Where a server listens, how it batches and what it refuses."""

    host: str = _option("127.0.0.1", "address to listen on; 0.0.0.0: any machine may ask")
    port: int = _option(8000, "0: any free one", 0)
    batch_size: int = _option(8, "pictures that the detector takes at once")
    batch_wait: float = _option(5.0, "milliseconds that it waits for pictures on their way", 0)
    queue: int = _option(64, "pictures in work; what comes beyond is refused (429)")
    max_bytes: int = _option(20_000_000, "of a request (413)")
    max_pixels: int = _option(25_000_000, "of a picture (413)")
    max_pictures: int = _option(16, "in a request (413)")
    timeout: float = _option(30.0, "seconds for a request, with sending it (504)", 0.01)
    threads: int = _option(0, "of the CPU; 0: as the runtime chooses", 0)

    def __post_init__(self) -> None:
        for each in fields(self)[1:]:
            if not (least := each.metadata["least"]) <= getattr(self, each.name) < math.inf:
                raise ValueError(f"--{each.name.replace('_', '-')} must be {least} or more")

    @staticmethod
    def add_to(parser: argparse.ArgumentParser) -> None:
        """Let a command take all of them."""
        for each in fields(Options):
            name, kind = f"--{each.name.replace('_', '-')}", type(each.default)
            form, told = "IP" if kind is str else "N", each.metadata["told"]
            parser.add_argument(name, type=kind, default=each.default, metavar=form, help=told)

    @staticmethod
    def of(args: argparse.Namespace) -> "Options":
        """Those of a command."""
        return Options(**{each.name: getattr(args, each.name) for each in fields(Options)})


def serve(load: Callable[[], Any], options: Options) -> None:
    """Serve the detector that `load` gives until SIGTERM or SIGINT.

    Raises:
        ImportError, OSError: a package is missing, or the port in use; and what `load` raises.
    """
    try:
        import python_multipart  # noqa: F401 - fastapi asks for it when a form comes

        from .server import run
    except ImportError as error:
        cure = f"pip install '{__name__.partition('.')[0].replace('_', '-')}[serve]'"
        raise ImportError(f"serving needs {error.name}, which is missing: {cure}") from error
    run(load, options)
