"""CornerNet, triplet CenterNet and points CenterNet for detectron2.

Importing this package registers its backbones, detectors, datasets and names of weights
(`published:`, `torchvision:`, `timm:`) with detectron2. Where torch, detectron2 or another library
is missing the import still succeeds, so that `centernet-d2 check` can say what to do; using a name
says what is missing and the command that brings it.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from multiprocessing import current_process
from typing import Any

from .missing import explain
from .quiet import IN_CHILDREN, hold_back

__version__ = "0.1.0"

_PUBLIC = {
    "add_centernet_config": "centernet_d2.config",
    "config_of": "centernet_d2.engine.model_config",
    "load_config": "centernet_d2.engine.setup",
    "setup": "centernet_d2.engine.setup",
    "Predictor": "centernet_d2.inference.predictor",
    "Trainer": "centernet_d2.engine.trainer",
}
__all__ = ["__version__", *_PUBLIC]

_import_error: Exception | None = None
_registered = False


def register() -> None:
    """Register everything with detectron2, once; importing the package has done it already.

    Only a process of the command `centernet-d2` calls it, when its arguments are parsed.
    """
    global _import_error, _registered
    if _registered:
        return
    _registered = True
    try:
        with warnings.catch_warnings():  # detectron2 decorates functions with it
            warnings.filterwarnings("ignore", r".*torch\.jit\.script", FutureWarning)
            from . import data, model_zoo, modeling, synthetic  # noqa: F401
    # RuntimeError: a torchvision of another torch; AttributeError, ValueError: older than numpy;
    # OSError: a library of the system that is not there; TypeError: Python before 3.11.
    except (ImportError, RuntimeError, AttributeError, ValueError, OSError, TypeError) as error:
        if (getattr(error, "name", None) or "").startswith("centernet_d2"):
            raise
        _import_error = error


def _is_command() -> bool:
    """Whether this process is the command, which answers --help before it loads torch."""
    if current_process().name != "MainProcess":  # started by it, has its name and nothing to parse
        return False
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    if name == "-m":  # `python -m`, while it looks for the module
        return any(word.partition(".")[0] == "centernet_d2" for word in sys.orig_argv[1:])
    return name in ("centernet-d2", "centernet-d2.exe")


def require(what: str = "centernet_d2") -> None:
    """Raise ImportError, with the cure, where something that the package stands on is missing."""
    register()
    if _import_error is not None:
        raise ImportError(explain(what, _import_error)) from _import_error


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'centernet_d2' has no attribute '{name}'")
    require(f"centernet_d2.{name}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


if current_process().name != "MainProcess" and IN_CHILDREN in os.environ:
    hold_back()
if not _is_command():
    register()
