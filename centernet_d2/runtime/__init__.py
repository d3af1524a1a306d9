"""Detecting with an exported file, without torch and detectron2.

Only numpy, and the runtime that the file is for: onnxruntime (`.onnx`) or openvino (`.xml`). The
same files are installed alone as `centernet_d2_runtime`, see `runtime/` of the repository; nothing
here may import another room.
"""

from .detections import Detections
from .detector import Detector

__all__ = ["Detections", "Detector"]
