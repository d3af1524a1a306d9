"""Registering the generated splits: names at once, metadata and pictures on first use."""

import os
from functools import partial

from detectron2.data import DatasetCatalog

from ..data.datasets.builtin import datasets_root, register_lazily
from .settings import SPLITS, FigureSettings, SplitSettings, StreetSettings, split_folder

ANNOTATION_FILE, IMAGE_FOLDER = "annotations.json", "images"  # of shapes and figures
STREET_SPLIT = "all"  # of streets, in a folder of KITTI's form


def register_synthetic(root: str) -> None:
    """Register the generated splits under a datasets root.

    The files exist once `DatasetCatalog.get(name)` has been called, the metadata before.
    """
    for name, split in SPLITS.items():
        if name not in DatasetCatalog:
            where = split, split_folder(name, root)
            register_lazily(name, partial(load_split, *where), partial(split_metadata, *where))


def load_split(split: SplitSettings, folder: str) -> list[dict]:
    """Make a split in `folder` unless it is there, and read its records."""
    from .files import ensure_split

    ensure_split(split, folder)
    if isinstance(split.scenes, StreetSettings):
        from ..data.datasets import kitti

        return kitti.load_kitti_records(folder, STREET_SPLIT)
    from ..data.datasets.coco_json import load_coco_records

    return load_coco_records(*(os.path.join(folder, n) for n in (ANNOTATION_FILE, IMAGE_FOLDER)))


def split_metadata(split: SplitSettings, folder: str) -> dict:
    """Return what detectron2's catalogue says about a split that lies in `folder`."""
    classes, joints = split.scenes.classes, {}
    if isinstance(split.scenes, StreetSettings):
        from ..data.datasets import kitti

        return kitti.split_metadata(folder, STREET_SPLIT, labelled=True)
    if isinstance(split.scenes, FigureSettings):
        from .figures import SKELETON

        joints = SKELETON.metadata()
    ids = {k + 1: k for k in range(len(classes))}
    told = {"thing_classes": list(classes), "thing_dataset_id_to_contiguous_id": ids, **joints}
    files = {"json_file": ANNOTATION_FILE, "image_root": IMAGE_FOLDER}
    files = {key: os.path.join(folder, name) for key, name in files.items()}
    return {**told, **files, "evaluator_type": "coco"}


register_synthetic(datasets_root())
