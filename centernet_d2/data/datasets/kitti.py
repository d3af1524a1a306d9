"""KITTI's object benchmark from its own files: no conversion, calibration and 3-D boxes included.

Records are detectron2's standard ones and say in addition

- per image `projection`: 3 x 4, camera frame in metres -> pixels of the file (`P2`);
- per object `dimensions` (height, width, length), `location` (x, y, z of the bottom centre),
  `rotation_y`, `alpha`, `truncated`, `occluded`, as in the label file;
- of a region that is neither object nor background `ignored` True (and `iscrowd` 1, by which
  detectron2's own loader leaves it out of its counts), with the class that it concerns as
  category_id, or `EVERY_CLASS`, and no 3-D box.

A dataset of another camera needs such records and nothing else.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from ..checks import DatasetError, check_boxes
from ..images import read_image_size
from .kitti_folder import (
    CALIBRATION_FOLDER,
    IMAGE_FOLDER,
    LABEL_FOLDER,
    TEST_SPLIT,
    Frame,
    find_frames,
    part_folder,
    split_parts,
)
from .kitti_labels import NEUTRAL_TYPES, KittiObject, read_labels, read_projection

logger = logging.getLogger(__name__)

EVERY_CLASS = -1  # category_id of a region that is ignored whatever is found in it


@dataclass(frozen=True)
class ClassRules:
    """What becomes of the types in label files."""

    classes: tuple[str, ...]  # objects, in the order of their category ids
    # type -> the class in which it is neither object nor background; None: in every class
    ignored: Mapping[str, str | None]
    background: tuple[str, ...]  # as if they were not there
    # ignored types that are background to the scores: what is found there is false
    only_in_training: tuple[str, ...] = ()

    def category(self, kind: str) -> int:
        """Category id of a class or of an ignored type."""
        name = self.ignored.get(kind, kind)
        return EVERY_CLASS if name is None else self.classes.index(name)

    def neutral_types(self) -> dict[str, str | None]:
        """The ignored types that are ignored in the scores too."""
        return {k: name for k, name in self.ignored.items() if k not in self.only_in_training}


# As published: nothing is merged into another class. The scores know less than training does.
KITTI_RULES = ClassRules(
    classes=("Pedestrian", "Car", "Cyclist"),
    ignored={**NEUTRAL_TYPES, "Truck": "Car"},
    background=("Tram", "Misc"),
    only_in_training=("Truck",),
)

# Registered name -> split; "trainval" and "test" are the same frames in both divisions.
KITTI_SPLITS = {
    "kitti_3dop_train": "3dop/train",
    "kitti_3dop_val": "3dop/val",
    "kitti_subcnn_train": "subcnn/train",
    "kitti_subcnn_val": "subcnn/val",
    "kitti_trainval": "trainval",
    "kitti_test": TEST_SPLIT,
}

_may_miss_frames: dict[str, bool] = {}


def register_kitti(root: str) -> None:
    """Register `KITTI_SPLITS` of `<root>/kitti`; nothing is read before a split is used."""
    for name, split in KITTI_SPLITS.items():
        if name not in DatasetCatalog:
            register_kitti_split(name, os.path.join(root, "kitti"), split)


def register_kitti_split(
    name: str,
    folder: str,
    split: str,
    *,
    labelled: bool | None = None,
    rules: ClassRules = KITTI_RULES,
) -> None:
    """Register one split of a folder of KITTI's form.

    Args:
        name: dataset name.
        folder: holds ImageSets, training and testing.
        split: "3dop/train", "train", "test" or the path of a list, see `kitti_folder.read_split`.
        labelled: whether its frames have label files; None: all but the split "test" do.
        rules: what becomes of the types in the label files, in training and in the scores.
    """
    if labelled is None:
        labelled = split_parts(split)[1] != TEST_SPLIT
    part = part_folder(folder, split)

    def load() -> list[dict]:
        return load_kitti_records(
            folder,
            split,
            labelled=labelled,
            allow_missing=_may_miss_frames.get(name, False),
            rules=rules,
        )

    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        thing_classes=list(rules.classes),
        evaluator_type="kitti",
        image_dir=os.path.join(part, IMAGE_FOLDER),
        calib_dir=os.path.join(part, CALIBRATION_FOLDER),
        label_dir=os.path.join(part, LABEL_FOLDER) if labelled else None,
        neutral_types=rules.neutral_types(),
    )


def allow_missing_frames(names: Iterable[str], allowed: bool) -> None:
    """Say whether these datasets may lack frames of their lists (`DATASETS.KITTI.ALLOW_MISSING`).

    It holds in this process, from the next loading on, for datasets of `register_kitti_split`.
    """
    _may_miss_frames.update(dict.fromkeys(names, allowed))


def load_kitti_records(
    folder: str,
    split: str,
    *,
    labelled: bool = True,
    allow_missing: bool = False,
    rules: ClassRules = KITTI_RULES,
) -> list[dict]:
    """Return the records of a split (see the module), in the order of its list.

    Keys: file_name, image_id (the frame's name, "000007"), height, width, as_stored (True: pixels
    are not turned, since the calibration is of the file's), projection and, in a labelled split,
    annotations. Boxes without area or outside their image are left out with a warning; an object
    that has no place in front of the camera or no dimensions becomes an ignored region.

    Raises:
        FileNotFoundError: see `find_frames`.
        DatasetError: a list, calibration or label file is malformed, or a label has an unknown
            type.
        ImageFileError: an image has no readable header.
    """
    frames = find_frames(folder, split, labelled=labelled, allow_missing=allow_missing)
    records = [_record(frame) for frame in frames]
    if not labelled:
        logger.info("%s, split %s: %d frames, no labels", folder, split, len(records))
        return records
    objects = [_known_objects(frame, rules) for frame in frames]
    kept = _kept_boxes(part_folder(folder, split), frames, records, objects)
    for record, found, keep in zip(records, objects, kept, strict=True):
        record["annotations"] = [
            annotation_of(item, rules) for item, is_kept in zip(found, keep, strict=True) if is_kept
        ]
    _say_without_box(folder, objects, rules)
    _log_counts(folder, split, records, rules)
    return records


def annotation_of(item: KittiObject, rules: ClassRules = KITTI_RULES) -> dict:
    """Return the annotation of a label row whose type is a class or an ignored type."""
    annotation = {
        "bbox": list(item.box),
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": rules.category(item.type),
    }
    if item.type in rules.ignored or not has_box3d(item):
        return {**annotation, "ignored": True, "iscrowd": 1}
    return {
        **annotation,
        "iscrowd": 0,
        "dimensions": list(item.dimensions),
        "location": list(item.location),
        "rotation_y": item.rotation_y,
        "alpha": item.alpha,
        "truncated": item.truncated,
        "occluded": item.occluded,
    }


def has_box3d(item: KittiObject) -> bool:
    """Whether a row says where the object is: in front of the camera, with an extent."""
    return item.location[2] > 0 and min(item.dimensions) > 0


def _record(frame: Frame) -> dict:
    width, height = read_image_size(frame.image)
    return {
        "file_name": frame.image,
        "image_id": frame.name,
        "height": height,
        "width": width,
        "as_stored": True,
        "projection": read_projection(frame.calibration).tolist(),
    }


def _known_objects(frame: Frame, rules: ClassRules) -> list[KittiObject]:
    """Read a label file; the background's rows are left out."""
    assert frame.label is not None  # of a labelled split
    known = {*rules.classes, *rules.ignored}
    found = []
    for number, item in enumerate(read_labels(frame.label), start=1):
        if item.type in rules.background:
            continue
        if item.type not in known:
            raise DatasetError(
                f"'{frame.label}', object {number} has the type '{item.type}', which is none of "
                f"{sorted(known | set(rules.background))}: correct it (capital letters count)"
            )
        found.append(item)
    return found


def _kept_boxes(
    source: str,
    frames: Sequence[Frame],
    records: Sequence[dict],
    objects: Sequence[Sequence[KittiObject]],
) -> Iterator[np.ndarray]:
    """Check all 2-D boxes at once; yield per frame which to keep."""
    counts = [len(found) for found in objects]
    boxes = np.array([item.box for found in objects for item in found]).reshape(-1, 4)
    owners = np.repeat(np.arange(len(counts)), counts)
    sizes = np.array([(record["width"], record["height"]) for record in records])
    report = check_boxes(
        np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1),
        sizes[owners],
        source=os.path.join(source, LABEL_FOLDER),
        describe=lambda row: f"'{frames[owners[row]].name}.txt' (left, top, width, height)",
    )
    for message in report.messages:
        logger.warning(message)
    return iter(np.split(report.keep, np.cumsum(counts)[:-1]))


def _say_without_box(
    folder: str, objects: Sequence[Sequence[KittiObject]], rules: ClassRules
) -> None:
    without = [
        item
        for found in objects
        for item in found
        if item.type in rules.classes and not has_box3d(item)
    ]
    if without:
        logger.warning(
            "%s: %d objects have no 3-D box in front of the camera (z <= 0 or a dimension <= 0), "
            "such as a %s at %s: they are ignored regions of their class",
            folder,
            len(without),
            without[0].type,
            without[0].location,
        )


def _log_counts(folder: str, split: str, records: Sequence[dict], rules: ClassRules) -> None:
    annotations = [entry for record in records for entry in record["annotations"]]
    ignored = sum(entry.get("ignored", False) for entry in annotations)
    counts = Counter(entry["category_id"] for entry in annotations if not entry.get("ignored"))
    named = ", ".join(f"{counts[index]} {name}" for index, name in enumerate(rules.classes))
    message = "%s, split %s: %d frames (%d without objects); %s; %d ignored regions"
    empty = sum(all(entry.get("ignored") for entry in record["annotations"]) for record in records)
    logger.info(message, folder, split, len(records), empty, named, ignored)
