"""The generated datasets `shapes3d_train` and `shapes3d_val`, as folders of KITTI's form."""

from __future__ import annotations

import os

from detectron2.data import DatasetCatalog, MetadataCatalog

from ..kitti import KITTI_RULES, load_kitti_records
from ..kitti_folder import CALIBRATION_FOLDER, IMAGE_FOLDER, LABEL_FOLDER
from .files import SPLIT_NAME, TRAINING_FOLDER, ensure_split3d, split3d_stamp
from .split import Split3dSettings

SPLITS = {
    "shapes3d_train": Split3dSettings(images=3000, seed=20190417),
    "shapes3d_val": Split3dSettings(images=200, seed=20190418),
}


def split3d_folder(name: str, root: str) -> str:
    """Return where split `name` ("shapes3d_val") lies under the datasets root."""
    return os.path.join(root, "shapes3d", f"{name.split('_')[-1]}-{split3d_stamp(SPLITS[name])}")


def register_shapes3d(root: str) -> None:
    """Register the generated splits under a datasets root; nothing is made before it is used."""
    for name in SPLITS:
        if name not in DatasetCatalog:
            _register(name, split3d_folder(name, root))


def _register(name: str, folder: str) -> None:
    def load() -> list[dict]:
        ensure_split3d(SPLITS[name], folder)
        return load_kitti_records(folder, SPLIT_NAME)

    part = os.path.join(folder, TRAINING_FOLDER)
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        thing_classes=list(KITTI_RULES.classes),
        evaluator_type="kitti",
        image_dir=os.path.join(part, IMAGE_FOLDER),
        calib_dir=os.path.join(part, CALIBRATION_FOLDER),
        label_dir=os.path.join(part, LABEL_FOLDER),
    )
