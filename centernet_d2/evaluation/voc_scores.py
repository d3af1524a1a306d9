"""Average precision by the rules of Pascal VOC, on arrays.

Shape letters: D detections, G objects, T thresholds, C classes. Nothing loops over detections.

The rules (VOC devkit): each detection belongs to the object of its class and image that it overlaps
most. If the overlap is above the threshold, it is a true positive when the object is not difficult
and no detection with a higher score took it already, and counts as nothing when the object is
difficult. Any other detection is a false positive, a second one of the same object too. Difficult
objects need not be found.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from .box_overlap import intersection_over_union, pairs_of_equals

# As the published Python evaluation draws them: 0.1 * 3 is slightly more than 0.3 there, and
# whoever compares to the last digit needs the same.
RECALL_LEVELS = np.arange(0.0, 1.1, 0.1)


@dataclass(frozen=True)
class _Boxes:
    """N boxes of all images and classes."""

    image: np.ndarray  # (N,) int64
    category: np.ndarray  # (N,) int64 in 0..C-1
    boxes: np.ndarray  # (N, 4) float64, XYXY, detections and objects in one frame

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, rows: Any) -> Self:
        return type(self)(**{name: column[rows] for name, column in vars(self).items()})


@dataclass(frozen=True)
class VocDetections(_Boxes):
    """D detections."""

    scores: np.ndarray  # (D,) float64


@dataclass(frozen=True)
class VocObjects(_Boxes):
    """G annotated objects."""

    difficult: np.ndarray  # (G,) bool


class VocScores(NamedTuple):
    """Average precision of every class at every threshold; NaN for a class without objects."""

    eleven_point: np.ndarray  # (T, C), VOC 2007's metric: mean of the precision at 11 recalls
    every_point: np.ndarray  # (T, C), VOC's metric since 2010: area under the precision's envelope
    objects: np.ndarray  # (C,) int64, objects that are not difficult


def score_detections(
    detections: VocDetections,
    objects: VocObjects,
    *,
    num_classes: int,
    thresholds: np.ndarray | tuple[float, ...] = (0.5,),
    inclusive_pixels: bool = True,
    strict: bool = True,
) -> VocScores:
    """Score all classes at all thresholds, which overlaps must exceed.

    Equal scores keep the order in which the detections are given. With `inclusive_pixels` corners
    are pixels that belong to the box, so that its width is x2 - x1 + 1 (VOC), else it is x2 - x1.
    `strict`: an overlap equal to the threshold is too little (VOC), else it is enough.
    """
    order = np.lexsort([-detections.scores, detections.category])  # stable: by class, then score
    best, overlap = best_objects(detections, objects, inclusive_pixels=inclusive_pixels)
    best, overlap, category = best[order], overlap[order], detections.category[order]
    easy = np.bincount(objects.category[~objects.difficult], minlength=num_classes)
    starts = np.searchsorted(category, np.arange(num_classes + 1))
    eleven = np.full((len(thresholds), num_classes), np.nan)
    every = eleven.copy()
    for row, threshold in enumerate(thresholds):
        enough = overlap > threshold if strict else overlap >= threshold
        tp, fp = _judge(np.where(enough, best, -1), objects.difficult)
        for index in np.flatnonzero(easy):
            part = slice(starts[index], starts[index + 1])
            hits, false = np.cumsum(tp[part]), np.cumsum(fp[part])
            recall, precision = hits / easy[index], hits / np.maximum(hits + false, 1)
            eleven[row, index] = interpolated_precision(recall, precision, RECALL_LEVELS)
            every[row, index] = every_point_precision(recall, precision)
    return VocScores(eleven, every, easy)


def best_objects(
    detections: VocDetections, objects: VocObjects, *, inclusive_pixels: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return the object of its class and image that each detection overlaps most, and the IoU.

    Both (D,); -1 and 0 where there is no such object. Of equal overlaps the first object is taken.
    """
    best = np.full(len(detections), -1, dtype=np.int64)
    overlap = np.zeros(len(detections))
    if not len(detections) or not len(objects):
        return best, overlap
    # One number per (class, image)
    images = 1 + max(detections.image.max(), objects.image.max())
    keys = objects.category * images + objects.image
    order = np.argsort(keys, kind="stable")
    wanted = detections.category * images + detections.image
    for owner, place in pairs_of_equals(wanted, keys[order]):
        candidate = order[place]
        values = intersection_over_union(
            detections.boxes[owner], objects.boxes[candidate], extra=float(inclusive_pixels)
        )
        np.maximum.at(overlap, owner, values)
        # Written backwards, the first of equal candidates stays.
        largest = np.flatnonzero(values == overlap[owner])[::-1]
        best[owner[largest]] = candidate[largest]
    return best, overlap


def interpolated_precision(recall: np.ndarray, precision: np.ndarray, levels: np.ndarray) -> float:
    """Return the mean over recall levels of the best precision at that recall or more."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, levels, side="left")  # first row that reaches the level
    return float(np.append(envelope, 0.0)[at].mean())


def every_point_precision(recall: np.ndarray, precision: np.ndarray) -> float:
    """Return the area under the precision's envelope: the best precision at that recall or more."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


def _judge(taken: np.ndarray, difficult: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives (D,), from the object of each detection by rank, -1 for none."""
    matched, ignored, tp = taken >= 0, np.zeros(len(taken), bool), np.zeros(len(taken), bool)
    ignored[matched] = difficult[taken[matched]]
    candidates = np.flatnonzero(matched & ~ignored)
    _, first = np.unique(taken[candidates], return_index=True)  # the highest score of each object
    tp[candidates[first]] = True
    return tp, ~tp & ~ignored
