"""Average precision as KITTI's object benchmark computes it: image, orientation, ground, space.

Rules, thresholds and sampling follow KITTI's object development kit in the form that the points
paper's repository evaluates with. What is often got wrong:

- An object outside the limits of a difficulty, or of a neighbor class, is neither to be found nor
  does it make its detection wrong. A detection that is too low for the difficulty counts for
  nothing either, whatever its class.
- An overlap must exceed the minimum.
- Precision is sampled at 41 recalls. The old score averages 11 of them, recall 0 included; the new
  one the 40 behind recall 0.
- The old score's sample at recall 0 alone is worth 9.09 points: a class in which a single object is
  found surely has them.
- What an object's label does not say, no score asks: without a 3-D box it is not to be found on the
  ground and in space, without a heading neither found nor missed in the orientation's score.
  (KITTI's program takes the marks -1000 and -10 for numbers; its objects have none.)
- There is one sample per object at most. A perfect detector of n < 41 objects gets AP40 of
  (n - 1) / 40 and no more, so scores of a handful of frames are low.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..checked_values import check_choice
from ..structures.box3d_records import NO_ANGLE
from .kitti_matching import by_overlap, by_score, choose
from .kitti_objects import KittiDetections, KittiTruth, OverlapPairs
from .kitti_overlap import covered_share, overlapping_pairs

SAMPLES = 41
OLD_SAMPLES = slice(0, SAMPLES, 4)  # 11 points
NEW_SAMPLES = slice(1, SAMPLES)  # 40 points


@dataclass(frozen=True)
class Difficulty:
    """Limits beyond which an object does not count."""

    name: str
    height: float  # of the box in the image; must be exceeded, pixels
    occluded: int  # at most
    truncated: float  # at most


DIFFICULTIES = (
    Difficulty("easy", height=40, occluded=0, truncated=0.15),
    Difficulty("moderate", height=25, occluded=1, truncated=0.30),
    Difficulty("hard", height=25, occluded=2, truncated=0.50),
)


@dataclass(frozen=True)
class KittiCurves:
    """Precision at 41 recalls for C classes and three difficulties, as shares of 1."""

    precision: np.ndarray  # (C, 3, 41)
    orientation: np.ndarray | None  # (C, 3, 41) where the metric is "image" and angles are known
    objects: np.ndarray  # (C, 3) int64, how many were to be found
    headed: np.ndarray  # (C, 3) int64, and of these by `orientation`


def score_kitti(
    truth: KittiTruth,
    detections: KittiDetections,
    min_overlaps: Mapping[str, Mapping[str, Sequence[float]]],
) -> dict[str, dict[str, KittiCurves]]:
    """Score the detections of all frames: table -> metric -> curves.

    `min_overlaps` are table of thresholds -> metric of `kitti_overlap.METRICS` -> of each class,
    the overlap that must be exceeded. A detection of whose box more than the "image" one of its
    class lies in a DontCare region is no false positive.
    """
    tables = min_overlaps.values()  # which may share rows
    rows = {(metric, *row) for table in tables for metric, row in table.items()}
    metrics = tuple({metric: None for metric, *_ in sorted(rows)})
    lowest = min((overlap for _, *row in rows for overlap in row), default=0)
    pairs = overlapping_pairs(truth, detections, metrics, lowest)
    covered = covered_share(truth, detections)
    done = {
        (metric, *row): _curves(truth, detections, pairs[metric], covered, metric, row)
        for metric, *row in rows
    }
    return {
        name: {metric: done[metric, *row] for metric, row in table.items()}
        for name, table in min_overlaps.items()
    }


def average_precision(curves: np.ndarray, objects: np.ndarray, points: int) -> np.ndarray:
    """AP (...) in percent of curves (..., 41), from 11 or 40 points; NaN where `objects` is 0."""
    check_choice("points", points, (11, 40))
    samples = OLD_SAMPLES if points == 11 else NEW_SAMPLES
    return np.where(objects > 0, 100 * curves[..., samples].mean(axis=-1), math.nan)


def score_thresholds(scores: np.ndarray, objects: int) -> np.ndarray:
    """Scores (at most 41) at which recall comes nearest to 0, 1/40, 2/40 ... 1.

    Of `scores` (P,) of the detections that found one of so many `objects`.
    """
    descending = np.sort(scores)[::-1]
    thresholds, wanted = [], 0.0
    for number, score in enumerate(descending, start=1):
        last = number == len(descending)
        recall, following = number / objects, (number + (not last)) / objects
        if not last and following - wanted < wanted - recall:
            continue
        thresholds.append(score)
        wanted += 1 / (SAMPLES - 1)  # summed up, as published: the last digit decides ties
    return np.array(thresholds)


@dataclass(frozen=True)
class _Contest:
    """One class at one difficulty: who takes part, and as what."""

    pairs: OverlapPairs  # objects of the class and detections that take part, overlapping enough
    frame: np.ndarray  # (N,) of the objects
    counted: np.ndarray  # (N,) bool, objects to be found
    valid: np.ndarray  # (D,) bool, detections of the class, high enough
    in_dont_care: np.ndarray  # (D,) bool, in such a region: no false positives
    scores: np.ndarray  # (D,)
    alphas: tuple[np.ndarray, np.ndarray] | None  # (N,) and (D,), radians; None: not compared

    def choose(
        self, pairs: OverlapPairs, thresholds: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `kitti_matching.choose` gives, and (M, T) which of the choices are right."""
        objects, chosen = choose(pairs, self.frame, self.scores, thresholds)
        found = (chosen >= 0) & self.counted[objects][:, None] & self.valid[chosen]
        return objects, chosen, found


def _curves(
    truth: KittiTruth,
    detections: KittiDetections,
    pairs: OverlapPairs,
    covered: np.ndarray,
    metric: str,
    min_overlaps: Sequence[float],
) -> KittiCurves:
    alphas = truth.boxes3d[:, 7], detections.boxes3d[:, 7]
    with_alphas = metric == "image" and not (alphas[1] == NO_ANGLE).any()
    known = np.ones(len(truth), dtype=bool) if metric == "image" else truth.in_space
    precision = np.zeros((len(min_overlaps), len(DIFFICULTIES), SAMPLES))
    orientation = np.zeros_like(precision)
    objects, headed = np.zeros((2, *precision.shape[:2]), dtype=np.int64)
    # Heights without their decimals: published code keeps them as whole numbers.
    heights = np.trunc(np.abs(detections.boxes[:, 3] - detections.boxes[:, 1]))
    for label, min_overlap in enumerate(min_overlaps):
        of_class = pairs[(truth.label[pairs.truth] == label) & (pairs.overlap > min_overlap)]
        for level, difficulty in enumerate(DIFFICULTIES):
            low = heights < difficulty.height
            valid = (detections.label == label) & ~low
            contest = _Contest(
                pairs=of_class[(valid | low)[of_class.detection]],
                frame=truth.frame,
                counted=_counted(truth, label, difficulty) & known,
                valid=valid,
                # Regions are drawn in the image alone.
                in_dont_care=(covered > min_overlap) & (metric == "image"),
                scores=detections.scores,
                alphas=alphas if with_alphas else None,
            )
            objects[label, level] = contest.counted.sum()
            precision[label, level], orientation[label, level] = _curve(contest)
            of_headed = replace(contest, counted=contest.counted & truth.headed)
            headed[label, level] = of_headed.counted.sum()
            if with_alphas and headed[label, level] < objects[label, level]:
                orientation[label, level] = _curve(of_headed)[1]
    return KittiCurves(precision, orientation if with_alphas else None, objects, headed)


def _curve(contest: _Contest) -> tuple[np.ndarray, np.ndarray]:
    """Precision (41,) and orientation similarity (41,), none rising with recall."""
    # Thresholds are scores of what objects get when they choose by score.
    surest = by_score(contest.pairs, contest.scores)
    _, chosen, found = contest.choose(surest, np.array([-math.inf]))
    thresholds = score_thresholds(contest.scores[chosen[found]], int(contest.counted.sum()))
    objects, chosen, found = contest.choose(by_overlap(contest.pairs, contest.valid), thresholds)
    # A detection is false unless an object has it, be that one that does not count.
    counts_as_fp = contest.valid & ~contest.in_dont_care
    sure = np.sort(contest.scores[counts_as_fp])
    sure = len(sure) - np.searchsorted(sure, thresholds, "left")  # reach each threshold
    tp, fp = found.sum(axis=0), sure - ((chosen >= 0) & counts_as_fp[chosen]).sum(axis=0)
    agreement = np.zeros(len(thresholds))
    if contest.alphas is not None:
        wanted, given = contest.alphas[0][objects][:, None], contest.alphas[1][chosen]
        agreement = np.where(found, (1 + np.cos(wanted - given)) / 2, 0).sum(axis=0)
    return _sampled(tp, tp + fp), _sampled(agreement, tp + fp)


def _sampled(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Shares (41,) from those at the thresholds, each the best at this or at a higher recall.

    Where a threshold leaves no detection that counts, published code divides 0 by 0; here that is a
    share of 0.
    """
    samples = np.zeros(SAMPLES)
    np.divide(part, whole, out=samples[: len(part)], where=whole > 0)
    return np.maximum.accumulate(samples[::-1])[::-1]


def _counted(truth: KittiTruth, label: int, difficulty: Difficulty) -> np.ndarray:
    """(N,) bool: the objects of the class that are within the limits."""
    return (
        (truth.label == label)
        & ~truth.neighbor
        & (truth.occluded <= difficulty.occluded)
        & (truth.truncated <= difficulty.truncated)
        & (truth.boxes[:, 3] - truth.boxes[:, 1] > difficulty.height)
    )
