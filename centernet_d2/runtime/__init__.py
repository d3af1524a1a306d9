"""Detecting with an exported file, without torch and detectron2.

Only numpy, and the runtime that the file is for: onnxruntime (`.onnx`) or openvino (`.xml`). The
same files are installed alone as `centernet_d2_runtime`, see `runtime/` of the repository; nothing
here may import another room. `serving` is a server of it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .detections import Detections
    from .detector import Detector

__all__ = ["Detections", "Detector"]


def __getattr__(name: str) -> Any:
    # When it is used: what a command takes is known without numpy.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{name.lower()}", __name__), name)
