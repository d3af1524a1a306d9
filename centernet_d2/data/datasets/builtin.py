"""What is registered on import: detectron2's own names, and the generated shapes.

COCO and VOC keep detectron2's names (`coco_2017_train`, `voc_2007_test`, ...) and folders; VOC is
read by this package, see `voc.py`.
"""

from __future__ import annotations

import os

import detectron2.data.datasets  # noqa: F401  (registers detectron2's names)

from .shapes import register_shapes
from .voc import register_voc


def datasets_root() -> str:
    """Return detectron2's datasets root: $DETECTRON2_DATASETS, else ./datasets."""
    return os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))


register_shapes(datasets_root())
register_voc(datasets_root())
