"""CornerNet, triplet CenterNet and points CenterNet for detectron2.

Importing this package registers its backbones, detectors, datasets and names of weights
(`published:`, `torchvision:`, `timm:`) with detectron2. Where
detectron2 (or a working torch) is missing the import still succeeds, so that `python -m
centernet_d2.check` can say what to do; using a name raises the stored error.
"""

from __future__ import annotations

from typing import Any

from .moved_modules import say_new_names

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

say_new_names()
_import_error: Exception | None = None
try:
    from . import data, model_zoo, modeling, synthetic  # noqa: F401  (for their registrations)
except (
    ImportError,
    RuntimeError,
) as error:  # RuntimeError: torch and torchvision that do not match
    missing = getattr(error, "name", None) or ""
    if missing.startswith("centernet_d2"):
        raise
    _import_error = error


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'centernet_d2' has no attribute '{name}'")
    if _import_error is not None:
        raise ImportError(
            f"centernet_d2.{name} needs a working detectron2; its import failed: {_import_error}. "
            "Run `python -m centernet_d2.check` to see what is wrong and how to cure it."
        ) from _import_error
    from importlib import import_module

    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value
