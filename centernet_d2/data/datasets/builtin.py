"""What is registered on import: detectron2's own names, and the generated shapes.

COCO keeps detectron2's names (`coco_2017_train`, `coco_2017_val`, ...) and folders.
"""

from __future__ import annotations

import os

import detectron2.data.datasets  # noqa: F401  (registers detectron2's names)

from .shapes import register_shapes


def datasets_root() -> str:
    """Return detectron2's datasets root: $DETECTRON2_DATASETS, else ./datasets."""
    return os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))


register_shapes(datasets_root())
