"""CornerNet, triplet CenterNet and points CenterNet for detectron2.

Importing this package registers its backbones, detectors, datasets and names of weights
(`published:`, `torchvision:`, `timm:`) with detectron2. Where
torch, detectron2 or another library is missing the import still succeeds, so that `python -m
centernet_d2 check` can say what to do; using a name says what is missing and what brings it.
"""

from __future__ import annotations

from typing import Any

from .missing import explain
from .moved_modules import say_new_names

__version__ = "0.1.0"

_PUBLIC = {
    "add_centernet_config": "centernet_d2.config",
    "load_config": "centernet_d2.engine.setup",
    "setup": "centernet_d2.engine.setup",
    "Predictor": "centernet_d2.inference.predictor",
    "Trainer": "centernet_d2.engine.trainer",
}
__all__ = ["__version__", *_PUBLIC]

say_new_names()
_import_error: Exception | None = None
try:
    from . import data, model_zoo, modeling, synthetic  # noqa: F401  (for their registrations)
except (ImportError, RuntimeError, AttributeError, OSError) as error:
    # RuntimeError: torch and torchvision that do not match; AttributeError: a detectron2 that is
    # older than numpy or Pillow; OSError: a library of the system that is not there.
    missing = getattr(error, "name", None) or ""
    if missing.startswith("centernet_d2"):
        raise
    _import_error = error


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'centernet_d2' has no attribute '{name}'")
    if _import_error is not None:
        raise ImportError(explain(f"centernet_d2.{name}", _import_error)) from _import_error
    from importlib import import_module

    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value
