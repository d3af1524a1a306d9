"""Objects that a detector of points, and one of anchors, could not tell apart; no weights needed.

The counts of "Objects as Points", section 6.1.1 and appendix C.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from tabulate import tabulate

from ..data.fields.base import source_boxes
from ..data.records import Record
from ..data.statistics import MEDIUM, SMALL, countable

AREAS = ("small", "medium", "large")
# Of COCO's train2017 in the paper.
PAPER = {
    "objects": 860001,
    "center_pairs": 614,
    "iou_collisions": {"0.7": 715, "0.5": 5179},
    "anchors_forced": 170220,
    "anchors_forced_by_area": {"small": 125831, "medium": 18505, "large": 25884},
}


@dataclass(frozen=True)
class Anchors:
    """Boxes on a grid over a picture whose shorter side was resized to `short_side`.

    The first position is half a stride from the corner. Anchors may reach over the picture's edge.
    """

    sizes: tuple[float, ...] = (32, 64, 128, 256, 512)  # roots of their areas
    ratios: tuple[float, ...] = (0.5, 1, 2)  # height over width
    stride: int = 16
    short_side: int = 800
    iou: float = 0.5  # an object without an anchor of that much is forced onto one

    def best_ious(self, boxes: np.ndarray, size: tuple[int, int], *, extra: int = 0) -> np.ndarray:
        """(N,) the IoU of each box with its best anchor.

        Args:
            boxes: (N, 4) x1, y1, x2, y2 in pixels of the picture.
            size: its (height, width).
            extra: added to the lengths of boxes and anchors, see `count_collisions`.
        """
        scale = self.short_side / min(size)
        boxes = boxes * scale
        shapes = [
            (side / ratio**0.5, side * ratio**0.5)
            for side, ratio in itertools.product(self.sizes, self.ratios)
        ]
        # Of anchors of one shape the nearest along each axis overlaps most.
        shared = np.ones((len(boxes), len(shapes)))
        for axis, lengths in enumerate(zip(*shapes, strict=True)):
            first, last = boxes[:, axis], boxes[:, axis + 2]
            half, side = self.stride / 2, size[1 - axis] * scale
            step = ((first + last) / 2 - half) / self.stride
            step = np.rint(step).clip(0, np.floor((side - half) / self.stride))
            middle, reach = (half + step * self.stride)[:, None], np.array(lengths) / 2
            overlap = np.minimum(last[:, None], middle + reach)
            overlap -= np.maximum(first[:, None], middle - reach)
            shared *= (overlap + extra).clip(0)
        areas = np.prod(np.array(shapes) + extra, axis=1)
        return (shared / (_areas(boxes, extra)[:, None] + areas - shared)).max(1)


def count_collisions(
    records: Sequence[Record],
    class_names: Sequence[str],
    *,
    stride: int = 4,
    ious: Sequence[float] = (0.5, 0.7),
    anchors: Anchors | None = None,
    crowds: bool = False,
    plus_one: bool = False,
) -> dict[str, Any]:
    """Count what collides, over pictures.

    Args:
        records: with height, width and annotations, see `data/records.py`.
        class_names: of their category numbers.
        stride: pixels of the original picture per cell of the output.
        ious: pairs of one class with a greater IoU collide.
        anchors: default: 15 at stride 16, short side 800.
        crowds: whether a region of a crowd is an object.
        plus_one: whether a box from pixel 3 to 5 is 3 wide, as integer boxes have it, and not 2.

    Returns:
        `objects`; `center_collisions`: those whose center falls into a cell that an earlier object
        of their class in the picture has; `center_pairs`, as the paper counts: pairs of one class
        in one cell; `iou_collisions`: pairs, by limit; `anchors_forced`: objects without an anchor
        of enough IoU. The same by class and, of areas as the files have them, by size.
    """
    grid, rows = anchors or Anchors(), _Rows(*([] for _ in fields(_Rows)))
    for record in records:
        annotations = record.get("annotations") or ()
        if entries := list(annotations) if crowds else countable(annotations):
            _add(rows, entries, (record["height"], record["width"]), grid, stride, int(plus_one))
    joined = {name: np.concatenate([*found, []]) for name, found in vars(rows).items()}
    classes, pairs = (joined[name].astype(int) for name in ("classes", "pair_classes"))
    repeated, forced = joined["repeated"].astype(bool), joined["forced"].astype(bool)
    over = {f"{iou:g}": pairs[joined["pair_ious"] > iou] for iou in ious}
    columns = {"objects": classes, "center_collisions": classes[repeated]}
    columns |= {f"iou_collisions_{iou}": found for iou, found in over.items()}
    by_class = {
        name: np.bincount(found, minlength=len(class_names)) for name, found in columns.items()
    }
    kinds = joined["kinds"].astype(int)
    return {
        "objects": len(classes),
        "center_collisions": int(repeated.sum()),
        "center_pairs": int(joined["pair_same_cell"].sum()),
        "iou_collisions": {iou: len(found) for iou, found in over.items()},
        "anchors_forced": int(forced.sum()),
        "objects_by_area": _by_area(kinds),
        "anchors_forced_by_area": _by_area(kinds[forced]),
        "by_class": [
            {"class": name} | {column: int(found[row]) for column, found in by_class.items()}
            for row, name in enumerate(class_names)
        ],
        **{"stride": stride, "crowds": crowds, "plus_one": plus_one, "anchors": asdict(grid)},
    }


@dataclass(frozen=True)
class _Rows:
    """Arrays of each picture: of its N objects, and of their P pairs of one class."""

    classes: list[np.ndarray]  # (N,)
    repeated: list[np.ndarray]  # (N,) whether an earlier one of the class has the cell
    kinds: list[np.ndarray]  # (N,) places in `AREAS`
    forced: list[np.ndarray]  # (N,) whether no anchor has enough IoU
    pair_classes: list[np.ndarray]  # (P,)
    pair_same_cell: list[np.ndarray]  # (P,)
    pair_ious: list[np.ndarray]  # (P,)


def _add(
    rows: _Rows,
    entries: Sequence[Mapping[str, Any]],
    size: tuple[int, int],
    anchors: Anchors,
    stride: int,
    extra: int,
) -> None:
    boxes = source_boxes(entries, "")
    classes = np.array([entry["category_id"] for entry in entries])
    cells = np.floor((boxes[:, :2] + boxes[:, 2:]) / 2 / stride)
    earlier = np.unique(np.c_[classes, cells], axis=0, return_index=True)[1]
    rows.classes.append(classes)
    rows.repeated.append(~np.isin(np.arange(len(boxes)), earlier))
    rows.kinds.append(np.digitize(_areas_of(entries, boxes), [SMALL**2, MEDIUM**2]))
    rows.forced.append(anchors.best_ious(boxes, size, extra=extra) < anchors.iou)
    first, second = np.triu_indices(len(boxes), 1)
    alike = classes[first] == classes[second]
    first, second = first[alike], second[alike]
    rows.pair_classes.append(classes[first])
    rows.pair_same_cell.append((cells[first] == cells[second]).all(1))
    rows.pair_ious.append(paired_ious(boxes[first], boxes[second], extra=extra))


def _by_area(kinds: np.ndarray) -> dict[str, int]:
    return dict(zip(AREAS, np.bincount(kinds, minlength=len(AREAS)).tolist(), strict=True))


def collision_tables(found: Mapping[str, Any]) -> list[str]:
    """Tables of what `count_collisions` found, beside the paper's counts on COCO's train2017."""
    limits = found["iou_collisions"]
    rows: list[list[Any]] = [["objects", found["objects"], PAPER["objects"]]]
    rows.append(["objects in a cell that is taken", found["center_collisions"], None])
    rows.append(["pairs in one cell", found["center_pairs"], PAPER["center_pairs"]])
    for limit, pairs in limits.items():
        rows.append([f"pairs above IoU {limit}", pairs, PAPER["iou_collisions"].get(limit)])
    rows.append(["objects that no anchor fits", found["anchors_forced"], PAPER["anchors_forced"]])
    for area, forced in found["anchors_forced_by_area"].items():
        told = f"- of {found['objects_by_area'][area]} {area} ones"
        rows.append([told, forced, PAPER["anchors_forced_by_area"][area]])
    pairs = [f"iou_collisions_{limit}" for limit in limits]
    worst = sorted(found["by_class"], key=lambda r: [-r[k] for k in ("center_collisions", *pairs)])
    shown = [row for row in worst if row["center_collisions"] or any(row[key] for key in pairs)]
    names = {"center_collisions": "cell taken"} | {
        key: f"above IoU {limit}" for key, limit in zip(pairs, limits, strict=True)
    }
    by_class = [{names.get(key, key): value for key, value in row.items()} for row in shown]
    tables = [tabulate(rows, ["", "here", "COCO train2017 in the paper"], "pipe")]
    return tables + [tabulate(by_class, "keys", "pipe")] * bool(by_class)


def paired_ious(one: np.ndarray, other: np.ndarray, *, extra: int = 0) -> np.ndarray:
    """(N,) IoU of each pair of boxes (N, 4) x1, y1, x2, y2; 0 of two without area."""
    inside = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2]) + extra
    shared = inside.clip(0).prod(1)
    union = _areas(one, extra) + _areas(other, extra) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _areas(boxes: np.ndarray, extra: int) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2] + extra).prod(axis=1)


def _areas_of(entries: Sequence[Mapping[str, Any]], boxes: np.ndarray) -> np.ndarray:
    """(N,) square pixels: of the outline where the file tells it, else of the box."""
    told = [entry.get("area") for entry in entries]
    return np.array(
        [box if area is None else area for area, box in zip(told, _areas(boxes, 0), strict=True)]
    )
