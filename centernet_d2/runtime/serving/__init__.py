"""A detector behind HTTP: pictures in, JSON or drawn pictures out (docs/serving.md); no torch."""

from collections.abc import Callable
from typing import Any

from .options import Options


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
