"""What is registered on import: detectron2's own names, and KITTI.

COCO and VOC keep detectron2's names (`coco_2017_train`, `voc_2007_test`, ...) and folders; VOC is
read by this package, see `voc.py`. KITTI's names are in `kitti.py`.
"""

from __future__ import annotations

import os

import detectron2.data.datasets  # noqa: F401  (registers detectron2's names)
from detectron2.data import DatasetCatalog, MetadataCatalog

from ...structures.skeleton import COCO_SIGMAS
from .kitti import register_kitti
from .voc import register_voc


def datasets_root() -> str:
    """Return detectron2's datasets root: $DETECTRON2_DATASETS, else ./datasets."""
    return os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))


def _complete_keypoint_metadata() -> None:
    """Give detectron2's person datasets what its metadata lacks: COCO's tolerances."""
    for name in DatasetCatalog.list():
        if name.startswith("keypoints_coco_"):
            MetadataCatalog.get(name).set(keypoint_oks_sigmas=list(COCO_SIGMAS))


_complete_keypoint_metadata()
register_voc(datasets_root())
register_kitti(datasets_root())
