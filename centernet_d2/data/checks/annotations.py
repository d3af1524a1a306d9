"""Records -> findings about boxes, classes and crowding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from detectron2.structures import BoxMode

from . import TOLERANCE, judge_boxes
from .findings import Example, Finding

TINY = 2.0  # pixels of the file: a side under that
WHOLE = 0.98  # share of the image's width and height from which on a box covers it
FEW = (10, 0.01)  # objects, and share of the most frequent class, under which a class is rare
OFTEN = 0.02  # share of objects from which on it is a warning that they are hard to find
UNMEANT = ("not-a-number", "too-large", "swapped", "normalised", "outside", "zero-size")


class Objects(NamedTuple):
    """All N annotations of M records, in arrays."""

    image: np.ndarray  # (N,) row of the record
    number: np.ndarray  # (N,) place among the annotations of its record
    boxes: np.ndarray  # (N, 4) x, y, width, height as in the file
    classes: np.ndarray  # (N,)
    counted: np.ndarray  # (N,) bool: neither crowd nor ignored
    sizes: np.ndarray  # (M, 2) width and height of the images
    files: list[str]  # M

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]]) -> Objects:
        """Those of records, whose boxes have `bbox_mode` XYXY_ABS or XYWH_ABS."""
        found = [(m, n, e) for m, r in enumerate(records) for n, e in enumerate(r["annotations"])]
        image, number = np.array([row[:2] for row in found], dtype=np.int64).reshape(-1, 2).T
        boxes = np.array([e["bbox"] for _, _, e in found], dtype=np.float64).reshape(-1, 4)
        corners = np.array([e["bbox_mode"] == BoxMode.XYXY_ABS for _, _, e in found], dtype=bool)
        boxes[corners, 2:] -= boxes[corners, :2]
        classes = np.array([e["category_id"] for _, _, e in found], dtype=np.int64)
        counted = [not (e.get("iscrowd") or e.get("ignored")) for _, _, e in found]
        sizes = np.array([[r["width"], r["height"]] for r in records], float).reshape(-1, 2)
        files = [str(record.get("file_name", "")) for record in records]
        return cls(image, number, boxes, classes, np.array(counted, dtype=bool), sizes, files)

    def places(self, rows: np.ndarray) -> list[Example]:
        """Where the objects of an (N,) mask are."""
        found = zip(self.image[rows], self.number[rows], self.boxes[rows].round(2), strict=True)
        return [Example(self.files[m], int(n), f"bbox {box.tolist()}") for m, n, box in found]


def judge_objects(objects: Objects) -> tuple[list[Finding], dict[str, np.ndarray]]:
    """What is wrong with boxes; also kind -> (N,) which they are, and those to be learned ("")."""
    sizes, total = objects.sizes[objects.image], len(objects.boxes)
    found, wrong = [], {"": np.ones(total, dtype=bool)}
    for kind, severity, template, rows, _ in judge_boxes(objects.boxes, sizes):
        what, _, cure = template.partition(": {}. ")
        told = {"what": what.format(f"{rows.sum()} of {total} boxes"), "cure": cure}
        found += Finding.of(kind, objects.places(rows), total, severity=severity, **told)
        wrong[kind] = rows
        wrong[""] &= ~rows | (kind not in UNMEANT)
    boxes = np.where(wrong[""][:, None], objects.boxes, np.nan)
    start, side, end = boxes[:, :2], boxes[:, 2:], boxes[:, :2] + boxes[:, 2:]
    keys = np.column_stack([objects.image, boxes.round(2), objects.classes])
    usable = np.flatnonzero(objects.counted & wrong[""])
    further = {
        "over-border": ((start < -TOLERANCE) | (end > sizes + TOLERANCE)).any(axis=1),
        "tiny": (side < TINY).any(axis=1),
        "whole-image": (np.minimum(end, sizes) - np.maximum(start, 0) >= WHOLE * sizes).all(axis=1),
        "repeated-box": _repeats(keys, usable),
        "two-classes": _repeats(keys[:, :5], usable) & ~_repeats(keys, usable),
    }
    for kind, rows in further.items():
        found += Finding.of(kind, objects.places(rows), total)
    return found, wrong | further


def _repeats(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(N,) which of `rows` have the key, a row of (N, K), of an earlier one."""
    given, again = keys[rows], np.zeros(len(keys), dtype=bool)
    codes = given @ np.sqrt([2, 3, 5, 7, 11, 13])[: keys.shape[1]]  # equal of equals, sorted fast
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    is_same = (given == given[first[inverse]]).all(axis=1)
    again[rows] = is_same & (first[inverse] != np.arange(len(rows)))
    return again


def judge_classes(objects: Objects, names: Sequence[str]) -> list[Finding]:
    """What is wrong with the balance and the names of classes, and which images have no object."""
    numbers = np.bincount(objects.classes[objects.counted], minlength=len(names))
    few = max(FEW[0], FEW[1] * numbers.max(initial=0))
    plain = ["".join(filter(str.isalnum, name.casefold())) or name for name in names]
    cases = {
        "no-objects": [number == 0 for number in numbers],
        "rare-class": [0 < number < few for number in numbers],
        "like-names": [name in plain[:k] for k, name in enumerate(plain)],
    }
    filled = np.bincount(objects.image[objects.counted], minlength=len(objects.files))
    empty = [Example(objects.files[row]) for row in np.flatnonzero(filled == 0)]
    found = Finding.of("empty", empty, len(filled))
    for kind, wrong in cases.items() if names else ():
        told = [f"'{names[k]}' ({numbers[k]})" for k in np.flatnonzero(wrong)]
        found += Finding.of(kind, [Example("", None, each) for each in told], len(names))
    return found


def judge_crowding(
    objects: Objects, limits: Mapping[str, int], cells: np.ndarray, frame: str
) -> list[Finding]:
    """What a detector cannot find: too many objects, too near to each other, too small.

    `limits` are the most per image, by the keys that say so; `cells` (M,) how many cells of the
    output map a pixel of each image is long, in `frame`, as it is told. The boxes must be usable.
    """
    rows = np.flatnonzero(objects.counted)
    numbers = np.bincount(objects.image[rows], minlength=len(objects.files))
    limit, most = min(limits.values()), numbers.max(initial=0)
    raised = " and ".join(f"{key} to {most}" for key, value in limits.items() if value < most)
    crowded = np.flatnonzero(numbers > limit).tolist()
    places = [Example(objects.files[k], None, f"{numbers[k]} objects") for k in crowded]
    found = Finding.of("crowded", places, len(numbers), limit, raised)
    boxes = objects.boxes * cells[objects.image, None]
    sides, centers = np.sqrt(boxes[:, 2:].prod(axis=1)), boxes[:, :2] + boxes[:, 2:] / 2
    keys = np.column_stack([objects.image, objects.classes, np.floor(centers)])
    hard = {
        "colliding": _repeats(keys, rows[np.argsort(-sides[rows], kind="stable")]),
        "under-two-cells": objects.counted & (sides < 2),
    }
    for kind, wrong in hard.items():
        changed = {"severity": "note"} if wrong.sum() <= OFTEN * len(rows) else {}
        found += Finding.of(kind, objects.places(wrong), len(rows), frame, **changed)
    return found
