"""The ground truth of a registered KITTI dataset: from its label files, or from its records."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode

from ..data.datasets.kitti_labels import NEUTRAL_TYPES, KittiObject, read_labels
from ..structures.box3d_records import NO_BOX3D, box3d_row
from .ground_truth import read_records
from .kitti_objects import DONT_CARE, KittiTruth

Row = tuple[int, bool, Sequence[float], Sequence[float], float, int]
"""label, neighbor, box (4), 3-D box (8), truncated, occluded"""


@dataclass(frozen=True)
class KittiGroundTruth:
    """What detections of one dataset are compared with."""

    image_ids: list[str]
    class_names: list[str]
    truth: KittiTruth | None  # frame k is image_ids[k]; None: a split without labels


def load_ground_truth(dataset_name: str) -> KittiGroundTruth:
    """Read the label files in `label_dir` of the metadata, or the records where that is None.

    The files know more than records: neighbor classes have their 3-D boxes there. Which types
    those are, and which mark regions, say `neutral_types` of the metadata, by default KITTI's (see
    `kitti_labels.NEUTRAL_TYPES`). Records serve datasets of other cameras. What is not known has
    KITTI's marks, in files as in records (see `structures.box3d_records`).
    """
    records, class_names = read_records(dataset_name)
    metadata = MetadataCatalog.get(dataset_name)
    image_ids = [record["image_id"] for record in records]
    rows: list[list[Row]] | None = None
    if label_dir := metadata.get("label_dir"):
        paths = [os.path.join(label_dir, f"{image_id}.txt") for image_id in image_ids]
        neutral = metadata.get("neutral_types", NEUTRAL_TYPES)
        rows = [_rows_of_file(read_labels(path), class_names, neutral) for path in paths]
    elif records.labelled:
        rows = [_rows_of_record(record, dataset_name) for record in records]
    return KittiGroundTruth(image_ids, class_names, None if rows is None else _join(rows))


def _rows_of_file(
    objects: Sequence[KittiObject],
    class_names: Sequence[str],
    neutral_types: Mapping[str, str | None],
) -> list[Row]:
    """Rows of what matters to the scores; other classes (Tram, Truck ...) are background."""
    classes = {name.lower(): label for label, name in enumerate(class_names)}
    neutral = {
        kind.lower(): DONT_CARE if name is None else classes[name.lower()]
        for kind, name in neutral_types.items()
        if name is None or name.lower() in classes
    }
    labels = neutral | classes
    rows = []
    for item in objects:
        kind = item.type.lower()
        if kind not in labels:
            continue
        label = labels[kind]
        neighbor = kind not in classes and label != DONT_CARE
        box3d = box3d_row(vars(item), item.type)
        rows.append((label, neighbor, item.box, box3d, item.truncated, item.occluded))
    return rows


def _rows_of_record(record: dict, dataset_name: str) -> list[Row]:
    where = f"Dataset '{dataset_name}', image {record.get('file_name', record['image_id'])}"
    rows = []
    for number, entry in enumerate(record["annotations"]):
        label, ignored = entry["category_id"], bool(entry.get("ignored", False))
        box = BoxMode.convert(list(entry["bbox"]), entry["bbox_mode"], BoxMode.XYXY_ABS)
        occluded, truncated = (_level(entry, key, where) for key in ("occluded", "truncated"))
        try:
            box3d = box3d_row(entry, f"{where}, annotation {number}")
        except ValueError:
            if not ignored:  # or it needs no place in space
                raise
            box3d = NO_BOX3D.tolist()
        label = DONT_CARE if label == -1 else label
        rows.append((label, ignored, box, box3d, truncated, int(occluded)))
    return rows


def _level(entry: Mapping[str, Any], key: str, where: str) -> float:
    value = entry.get(key) or 0
    if not (isinstance(value, Real) and math.isfinite(value)):
        raise ValueError(
            f"{where}: an annotation has '{key}' {value!r}; it must be a number: occluded 0 "
            "(visible) to 3, truncated 0 to 1, -1 where it is not labelled"
        )
    return float(value)


def _join(rows: list[list[Row]]) -> KittiTruth:
    columns = list(zip(*(row for frame in rows for row in frame), strict=True)) or [()] * 6
    label, neighbor, boxes, boxes3d, truncated, occluded = columns
    return KittiTruth(
        frame=np.repeat(np.arange(len(rows)), [len(frame) for frame in rows]),
        label=np.array(label, dtype=np.int64),
        neighbor=np.array(neighbor, dtype=bool),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        boxes3d=np.array(boxes3d, dtype=np.float64).reshape(-1, 8),
        truncated=np.array(truncated, dtype=np.float64),
        occluded=np.array(occluded, dtype=np.int64),
    )
