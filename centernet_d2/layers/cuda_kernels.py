"""Modules of Triton kernels, where they run."""

import functools
import importlib
import logging
from types import ModuleType

logger = logging.getLogger(__name__)


@functools.cache
def cuda_kernels(module: str, what: str, instead: str) -> ModuleType | None:
    """A module of this room, or None where its kernels do not run, found out once per process.

    Triton compiles C code at its first launch, so importing it proves nothing.

    Args:
        module: its name; it has a function `launch_once`.
        what: the layer that it computes, for the warning.
        instead: what takes its place.
    """
    try:
        kernels = importlib.import_module(f"{__package__}.{module}")
        kernels.launch_once()
    except Exception as error:
        cure = (
            "install triton"
            if isinstance(error, ImportError)
            else "Triton needs a C compiler when it runs: install gcc, or name one in CC"
        )
        message = str(error).strip().splitlines() or [""]
        logger.warning(
            "The Triton kernels of %s do not run here (%s: %s). %s takes their place: equal "
            "results, but slower. To cure it, %s.",
            *(what, type(error).__name__, message[-1], instead, cure),
        )
        return None
    return kernels
