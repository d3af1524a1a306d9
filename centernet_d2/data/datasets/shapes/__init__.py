"""The generated datasets `shapes_train` and `shapes_val`: made on first use, in seconds."""

from __future__ import annotations

import os

from detectron2.data import DatasetCatalog, MetadataCatalog

from ..coco_json import load_coco_records
from .files import ANNOTATION_FILE, IMAGE_FOLDER, ensure_split, split_stamp
from .scenes import SceneSettings
from .split import SplitSettings

SPLITS = {
    "shapes_train": SplitSettings(images=4000, seed=20190417),
    "shapes_val": SplitSettings(images=400, seed=20190418),
}
THING_CLASSES = list(SceneSettings().classes)


def split_folder(name: str, root: str) -> str:
    """Return where split `name` ("shapes_val") lies under the datasets root."""
    return os.path.join(root, "shapes", f"{name.split('_')[-1]}-{split_stamp(SPLITS[name])}")


def register_shapes(root: str) -> None:
    """Register the generated splits under a datasets root; nothing is made before it is used.

    The metadata (classes, JSON path) is set here. The JSON exists once `DatasetCatalog.get(name)`
    has been called.
    """
    for name in SPLITS:
        if name not in DatasetCatalog:
            _register(name, split_folder(name, root))


def _register(name: str, folder: str) -> None:
    json_file = os.path.join(folder, ANNOTATION_FILE)
    image_root = os.path.join(folder, IMAGE_FOLDER)

    def load() -> list[dict]:
        ensure_split(SPLITS[name], folder)
        return load_coco_records(json_file, image_root)

    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        thing_classes=list(THING_CLASSES),
        thing_dataset_id_to_contiguous_id={k + 1: k for k in range(len(THING_CLASSES))},
        json_file=json_file,
        image_root=image_root,
        evaluator_type="coco",
    )
