"""Overlaps of KITTI's metrics: boxes in the image, rectangles on the ground, boxes in space.

Rules and formulas are those of KITTI's object development kit (and of the copy that the points
paper's repository evaluates with).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..structures.boxes3d import Boxes3D
from .kitti_objects import DONT_CARE, KittiDetections, KittiTruth
from .polygon_overlap import shared_area

METRICS = ("image", "ground", "space")
PAIRS_AT_ONCE = 200_000  # bounds the memory that a frame with many detections takes


@dataclass(frozen=True)
class OverlapPairs:
    """P pairs of an object and a detection of its frame, sorted by object, then detection."""

    truth: np.ndarray  # (P,) int64 row of the object
    detection: np.ndarray  # (P,) int64 row of the detection
    overlap: np.ndarray  # (P,) float64


def overlapping_pairs(
    truth: KittiTruth, detections: KittiDetections, metrics: tuple[str, ...], min_overlap: float
) -> dict[str, OverlapPairs]:
    """All pairs whose overlap exceeds `min_overlap`, whatever their classes; regions are left out.

    Args:
        truth: the labelled objects.
        detections: of the same frames.
        metrics: of `METRICS`: intersection over union of boxes in the image, of rectangles seen
            from above, of boxes in space.
        min_overlap: overlap that is too little.
    """
    parts: dict[str, list[tuple[np.ndarray, ...]]] = {metric: [] for metric in metrics}
    objects = np.flatnonzero(truth.label != DONT_CARE)
    for first, second in _pairs(truth.frame[objects], detections.frame):
        rows = objects[first]
        for metric, overlap in _overlaps(truth, detections, rows, second, metrics).items():
            kept = overlap > min_overlap
            parts[metric].append((rows[kept], second[kept], overlap[kept]))
    return {metric: _join(found) for metric, found in parts.items()}


def covered_share(truth: KittiTruth, detections: KittiDetections) -> np.ndarray:
    """(N,) the largest share of each detection's box that one DontCare region covers."""
    share = np.zeros(len(detections))
    regions = np.flatnonzero(truth.label == DONT_CARE)
    for first, second in _pairs(truth.frame[regions], detections.frame):
        boxes = detections.boxes[second]
        shared = _shared_in_image(truth.boxes[regions[first]], boxes)
        np.maximum.at(share, second, _ratio(shared, _box_area(boxes)))
    return share


def image_overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (P,) of boxes (P, 4) XYXY, pair by pair; edges, no pixel added."""
    shared = _shared_in_image(first, second)
    return _ratio(shared, _box_area(first) + _box_area(second) - shared)


def rotated_overlap(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Overlaps from above and in space, pair by pair.

    Args:
        first: (P, 8) as `Boxes3D.tensor`: metres, y points down and belongs to the bottom.
        second: (P, 8) likewise.

    Returns:
        Intersection over union of the rectangles from above (P,), and of the boxes (P,); 0 where a
        box has a dimension that is not positive.
    """
    ground, space = np.zeros(len(first)), np.zeros(len(first))
    near = np.flatnonzero(_may_touch(first, second))
    if not len(near):
        return ground, space
    first, second = first[near], second[near]
    area = shared_area(_from_above(first), _from_above(second))
    sizes = [boxes[:, 4] * boxes[:, 5] for boxes in (first, second)]
    ground[near] = _ratio(area, sizes[0] + sizes[1] - area)
    bottom = np.minimum(first[:, 1], second[:, 1])
    top = np.maximum(first[:, 1] - first[:, 3], second[:, 1] - second[:, 3])
    volume = area * np.maximum(bottom - top, 0)
    volumes = [size * boxes[:, 3] for size, boxes in zip(sizes, (first, second), strict=True)]
    space[near] = _ratio(volume, volumes[0] + volumes[1] - volume)
    return ground, space


def _join(parts: list[tuple[np.ndarray, ...]]) -> OverlapPairs:
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return OverlapPairs(*(np.concatenate(column) for column in zip(empty, *parts, strict=True)))


def _overlaps(
    truth: KittiTruth,
    detections: KittiDetections,
    rows: np.ndarray,
    found: np.ndarray,
    metrics: tuple[str, ...],
) -> dict[str, np.ndarray]:
    overlaps = {}
    if "image" in metrics:
        overlaps["image"] = image_overlap(truth.boxes[rows], detections.boxes[found])
    if "ground" in metrics or "space" in metrics:
        ground, space = rotated_overlap(truth.boxes3d[rows], detections.boxes3d[found])
        overlaps.update(ground=ground, space=space)
    return {metric: overlaps[metric] for metric in metrics}


def _pairs(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of two ascending columns of frames that have equal frames, in portions."""
    begin, end = np.searchsorted(second, first, "left"), np.searchsorted(second, first, "right")
    ends = np.cumsum(end - begin)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(PAIRS_AT_ONCE, total, PAIRS_AT_ONCE), "left")
    for rows in np.split(np.arange(len(first)), np.unique(cuts)):
        counts = (end - begin)[rows]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        yield np.repeat(rows, counts), np.repeat(begin[rows], counts) + within


def _may_touch(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether the circles around the rectangles meet and all dimensions are positive."""
    distance = np.hypot(first[:, 0] - second[:, 0], first[:, 2] - second[:, 2])
    reach = (np.hypot(first[:, 4], first[:, 5]) + np.hypot(second[:, 4], second[:, 5])) / 2
    solid = (first[:, 3:6] > 0).all(axis=1) & (second[:, 3:6] > 0).all(axis=1)
    return solid & (distance < reach)


def _from_above(boxes: np.ndarray) -> np.ndarray:
    return Boxes3D(torch.from_numpy(np.ascontiguousarray(boxes))).birds_eye().numpy()


def _shared_in_image(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    low = np.maximum(first[:, :2], second[:, :2])
    high = np.minimum(first[:, 2:], second[:, 2:])
    return np.maximum(high - low, 0).prod(axis=1)


def _box_area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
