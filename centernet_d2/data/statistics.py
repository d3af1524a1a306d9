"""What records hold, counted: images, objects, their sizes, joints and classes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .fields.base import source_boxes
from .records import Record

SMALL, MEDIUM = 32, 96  # pixels: less than that is small, and medium, as COCO has it
Facts = dict[str, Any]  # what -> a number, or (least, median, most) and the like


def count(records: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> Facts:
    """Count images, objects (crowds are none) and those of each class."""
    facts: Facts = {"images": len(records), "images without objects": 0, "objects": 0}
    marked = {"ignored": "ignored", "iscrowd": "crowd", "difficult": "difficult"}
    marks: Counter[str] = Counter()
    numbers: Counter[int | None] = Counter()
    for record in records:
        entries = record.get("annotations") or ()
        objects = countable(entries)
        facts["images without objects"] += not objects
        numbers.update(entry.get("category_id") for entry in objects)
        marks.update(key for entry in entries for key in marked if entry.get(key))
    facts["objects"] = numbers.total()
    facts |= {f"{what} objects": marks[key] for key, what in marked.items() if marks[key]}
    return {**facts, "classes": {name: numbers[index] for index, name in enumerate(class_names)}}


def describe(records: Sequence[Record], class_names: Sequence[str]) -> Facts:
    """Count what records hold; lengths are (least, median, most), in pixels."""
    counted = count(records, class_names)
    objects = countable(entry for record in records for entry in record.get("annotations", ()))
    facts: Facts = {"images": counted.pop("images")}
    for side in ("width", "height"):
        facts[f"image {side}"] = spread([r[side] for r in records if r.get(side)])
    classes = counted.pop("classes")
    facts |= counted
    sizes = box_sizes(objects)
    facts["object size"] = spread(sizes)
    kinds = np.digitize(sizes, [SMALL, MEDIUM])
    facts["small, medium, large objects"] = np.bincount(kinds, minlength=3).tolist()
    visibility = [entry.get("keypoints", ())[2::3] for entry in objects]
    if joints := [row for row in visibility if any(row)]:
        seen = np.concatenate(joints)
        facts["objects with joints"] = len(joints)
        shares = [round(float((seen == value).mean()), 3) for value in (2, 1, 0)]
        facts["share of joints visible, hidden, not labelled"] = shares
    return {**facts, "classes": classes}


def countable(annotations: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that are no region of a crowd, and none that is ignored (which is marked as both)."""
    return [e for e in annotations if not e.get("iscrowd") and not e.get("ignored")]


def box_sizes(annotations: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """(N,) lengths of the sides of squares as large as the boxes."""
    boxes = source_boxes(annotations, "")
    return np.sqrt((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1))


def spread(lengths: Sequence[float] | np.ndarray) -> list[float]:
    """The least, the median and the greatest; [] of none."""
    functions = (np.min, np.median, np.max) if len(lengths) else ()
    return [round(float(function(lengths)), 1) for function in functions]
