"""The generated datasets: made on first use, in seconds.

`shapes_train` and `shapes_val` are five classes of shapes, `shapes_pose_train` and
`shapes_pose_val` stick figures with joints.
"""

from __future__ import annotations

import os

from detectron2.data import DatasetCatalog, MetadataCatalog

from ..coco_json import load_coco_records
from .figure_scenes import FigureSettings
from .figures import FIGURE_SKELETON
from .files import ANNOTATION_FILE, IMAGE_FOLDER, ensure_split, split_stamp
from .split import SplitSettings

SPLITS = {
    "shapes_train": SplitSettings(images=4000, seed=20190417),
    "shapes_val": SplitSettings(images=400, seed=20190418),
    "shapes_pose_train": SplitSettings(images=4000, seed=20190419, scenes=FigureSettings()),
    "shapes_pose_val": SplitSettings(images=400, seed=20190420, scenes=FigureSettings()),
}


def split_folder(name: str, root: str) -> str:
    """Return where split `name` ("shapes_val") lies under the datasets root."""
    folder = f"{name.removeprefix('shapes_')}-{split_stamp(SPLITS[name])}"
    return os.path.join(root, "shapes", folder)


def register_shapes(root: str) -> None:
    """Register the generated splits under a datasets root; nothing is made before it is used.

    The metadata (classes, joints, JSON path) is set here. The JSON exists once
    `DatasetCatalog.get(name)` has been called.
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

    scenes = SPLITS[name].scenes
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        thing_classes=list(scenes.classes),
        thing_dataset_id_to_contiguous_id={k + 1: k for k in range(len(scenes.classes))},
        json_file=json_file,
        image_root=image_root,
        evaluator_type="coco",
        **(FIGURE_SKELETON.metadata() if isinstance(scenes, FigureSettings) else {}),
    )
