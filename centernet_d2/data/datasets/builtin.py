"""What is registered on import: detectron2's own names, and KITTI.

COCO and VOC keep detectron2's names (`coco_2017_train`, `voc_2007_test`, ...) and folders; VOC is
read by this package, see `voc.py`. Readers are imported when a name is used.
"""

import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import product
from typing import Any

import detectron2.data.datasets  # noqa: F401  (registers detectron2's names)
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata

# Registered name -> split; "trainval" and "test" are the same frames in both divisions.
KITTI_SPLITS = {
    **{"kitti_3dop_train": "3dop/train", "kitti_3dop_val": "3dop/val"},
    **{"kitti_subcnn_train": "subcnn/train", "kitti_subcnn_val": "subcnn/val"},
    **{"kitti_trainval": "trainval", "kitti_test": "test"},
}
PERSONS_TEST = "keypoints_coco_2017_test-dev"


def datasets_root() -> str:
    """Return detectron2's datasets root: $DETECTRON2_DATASETS, else ./datasets."""
    return os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))


class LazyMetadata(Metadata):
    """detectron2's metadata of one dataset, read by a function at the first use."""

    def __init__(self, name: str, read: Callable[[], dict[str, Any]]) -> None:
        super().__init__(name=name)
        self.__dict__["_read"] = read

    def __getattr__(self, key: str) -> Any:
        """Fill in what `read` returns; afterwards this is detectron2's own error."""
        read = self.__dict__.pop("_read", None)
        if read is None:
            return super().__getattr__(key)
        self.set(**read())
        return getattr(self, key)

    def as_dict(self) -> dict[str, Any]:
        self.get("thing_classes")
        return super().as_dict()


def register_lazily(
    name: str, load: Callable[[], list[dict]], metadata: Callable[[], dict[str, Any]]
) -> None:
    """Register a dataset by functions that import what they need: its records, its metadata."""
    DatasetCatalog.register(name, load)
    MetadataCatalog[name] = LazyMetadata(name, metadata)


def register_builtin(root: str) -> None:
    """Register VOC 2007 and 2012, `voc_<year>_<split>`, and `KITTI_SPLITS` under a datasets root.

    And COCO's poses on test-dev, `PERSONS_TEST`, for which detectron2 has no name. Its
    registrations of VOC's names are taken over; one that somebody else made stays.
    Nothing is read before a split is used.
    """
    splits = {name: ("kitti", "kitti", split) for name, split in KITTI_SPLITS.items()}
    for year, split in product((2007, 2012), ("trainval", "train", "val", "test")):
        splits[f"voc_{year}_{split}"] = ("voc", f"VOC{year}", split)
    for name, (form, folder, split) in splits.items():
        if name in DatasetCatalog:
            if DatasetCatalog[name].__module__ != "detectron2.data.datasets.pascal_voc":
                continue
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
        labelled = name not in ("voc_2012_test", "kitti_test")  # known to their servers alone
        where = (os.path.join(root, folder), split)
        told = {"labelled": labelled} if form == "kitti" else {"year": int(folder[-4:])}
        load = partial(_call, form, f"load_{form}_records", *where, name=name, labelled=labelled)
        register_lazily(name, load, partial(_call, form, "split_metadata", *where, **told))
    if PERSONS_TEST not in DatasetCatalog:
        files = {"json_file": "annotations/image_info_test-dev2017.json", "image_root": "test2017"}
        files = {key: os.path.join(root, "coco", path) for key, path in files.items()}
        load = partial(_call, "coco_json", "load_coco_records", *files.values())
        persons = MetadataCatalog.get("keypoints_coco_2017_val").as_dict().items()
        named = {k: v for k, v in persons if k == "thing_classes" or k.startswith("keypoint_")}
        named["thing_dataset_id_to_contiguous_id"] = {1: 0}  # the JSON has all 80 categories
        DatasetCatalog.register(PERSONS_TEST, load)
        MetadataCatalog.get(PERSONS_TEST).set(**named, **files, evaluator_type="coco")


def _call(module: str, function: str, *args: Any, **kwargs: Any) -> Any:
    return getattr(import_module(f".{module}", __package__), function)(*args, **kwargs)


register_builtin(datasets_root())
