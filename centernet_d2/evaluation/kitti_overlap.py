"""Overlaps of KITTI's metrics: boxes in the image, rectangles on the ground, boxes in space.

Rules and formulas are those of KITTI's object development kit (and of the copy that the points
paper's repository evaluates with).
"""

import numpy as np
import torch

from ..structures.boxes3d import Boxes3D
from .box_overlap import box_area, intersection, intersection_over_union, pairs_of_equals, ratio
from .kitti_objects import DONT_CARE, KittiDetections, KittiTruth, OverlapPairs
from .polygon_overlap import shared_area

METRICS = ("image", "ground", "space")


def overlapping_pairs(
    truth: KittiTruth, detections: KittiDetections, metrics: tuple[str, ...], min_overlap: float
) -> dict[str, OverlapPairs]:
    """All pairs whose overlap exceeds `min_overlap`, whatever their classes; regions are left out.

    `metrics` of `METRICS` are intersection over union of boxes in the image, of rectangles seen
    from above, of boxes in space.
    """
    nothing = OverlapPairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    parts = {metric: [nothing] for metric in metrics}
    objects = np.flatnonzero(truth.label != DONT_CARE)
    for first, found in pairs_of_equals(truth.frame[objects], detections.frame):
        rows, overlaps = objects[first], {}
        if "image" in metrics:
            overlaps["image"] = intersection_over_union(truth.boxes[rows], detections.boxes[found])
        if "ground" in metrics or "space" in metrics:
            both = rotated_overlap(truth.boxes3d[rows], detections.boxes3d[found])
            overlaps.update(zip(("ground", "space"), both, strict=True))
        for metric, kept in parts.items():
            pairs = OverlapPairs(rows, found, overlaps[metric])
            kept.append(pairs[pairs.overlap > min_overlap])
    return {
        metric: OverlapPairs(
            *(np.concatenate([getattr(part, name) for part in kept]) for name in vars(nothing))
        )
        for metric, kept in parts.items()
    }


def covered_share(truth: KittiTruth, detections: KittiDetections) -> np.ndarray:
    """(N,) the largest share of each detection's box that one DontCare region covers."""
    share = np.zeros(len(detections))
    regions = np.flatnonzero(truth.label == DONT_CARE)
    for first, found in pairs_of_equals(truth.frame[regions], detections.frame):
        boxes = detections.boxes[found]
        shared = intersection(truth.boxes[regions[first]], boxes)
        np.maximum.at(share, found, ratio(shared, box_area(boxes)))
    return share


def rotated_overlap(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intersection over union of rectangles from above (P,), and of boxes in space (P,).

    Pair by pair of (P, 8) as `Boxes3D.tensor`: metres, y points down and belongs to the bottom. 0
    where a box has a dimension that is not positive.
    """
    ground, space = np.zeros(len(first)), np.zeros(len(first))
    near = np.flatnonzero(_may_touch(first, second))
    if not len(near):
        return ground, space
    first, second = first[near], second[near]
    area = shared_area(_from_above(first), _from_above(second))
    sizes = [boxes[:, 4] * boxes[:, 5] for boxes in (first, second)]
    ground[near] = ratio(area, sizes[0] + sizes[1] - area)
    bottom = np.minimum(first[:, 1], second[:, 1])
    top = np.maximum(first[:, 1] - first[:, 3], second[:, 1] - second[:, 3])
    volume = area * np.maximum(bottom - top, 0)
    volumes = [size * boxes[:, 3] for size, boxes in zip(sizes, (first, second), strict=True)]
    space[near] = ratio(volume, volumes[0] + volumes[1] - volume)
    return ground, space


def _may_touch(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether the circles around the rectangles meet and all dimensions are positive."""
    distance = np.hypot(first[:, 0] - second[:, 0], first[:, 2] - second[:, 2])
    reach = (np.hypot(first[:, 4], first[:, 5]) + np.hypot(second[:, 4], second[:, 5])) / 2
    solid = (first[:, 3:6] > 0).all(axis=1) & (second[:, 3:6] > 0).all(axis=1)
    return solid & (distance < reach)


def _from_above(boxes: np.ndarray) -> np.ndarray:
    return Boxes3D(torch.from_numpy(np.ascontiguousarray(boxes))).birds_eye().numpy()
