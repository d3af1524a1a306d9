"""Which detection each object gets, at many score thresholds at once.

KITTI's rule is greedy: the objects of a frame choose one after the other, in the order of the label
file, among the detections that are left. What they choose by differs between the search for the
thresholds (highest score) and the curve itself (largest overlap), so the choice is an argument.
The n-th objects of all frames choose at once, each at every threshold.
"""

import numpy as np

from .kitti_objects import OverlapPairs


def by_score(pairs: OverlapPairs, scores: np.ndarray) -> OverlapPairs:
    """Sort each object's detections by descending score (D,), then as in the file."""
    return pairs[np.lexsort((pairs.detection, -scores[pairs.detection], pairs.truth))]


def by_overlap(pairs: OverlapPairs, valid: np.ndarray) -> OverlapPairs:
    """Sort each object's detections by descending overlap, then as in the file.

    Those that are not `valid` (D,), too low to count, come last and as in the file.
    """
    last = ~valid[pairs.detection]
    descending = np.where(last, 0.0, -pairs.overlap)
    return pairs[np.lexsort((pairs.detection, descending, last, pairs.truth))]


def choose(
    pairs: OverlapPairs, frame: np.ndarray, scores: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Let objects choose, each the first of its pairs that is free and high enough.

    Args:
        pairs: sorted by object and within an object by preference.
        frame: (N,) of all objects, ascending.
        scores: (D,) of all detections.
        thresholds: (T,) only scores of at least that take part.

    Returns:
        The objects (M,) that have a pair, ascending, and what each chose (M, T): the row of a
        detection, or -1.
    """
    objects, counts = np.unique(pairs.truth, return_counts=True)
    taking_part, compact = np.unique(pairs.detection, return_inverse=True)
    nobody = len(taking_part)
    chosen = np.full((len(objects), len(thresholds)), nobody)
    free = np.zeros((nobody + 1, len(thresholds)), dtype=bool)
    free[:nobody] = scores[taking_part][:, None] >= thresholds
    candidates = np.full((len(counts), counts.max(initial=0)), nobody)
    candidates[np.arange(candidates.shape[1]) < counts[:, None]] = compact
    columns, frames = np.arange(len(thresholds)), frame[objects]
    turn = np.arange(len(frames)) - np.searchsorted(frames, frames, "left")  # rank in the frame
    for number in range(turn.max(initial=-1) + 1):
        rows = np.flatnonzero(turn == number)
        offered = candidates[rows]
        is_open = free[offered]  # (rows, offers, thresholds)
        pick = np.take_along_axis(offered, is_open.argmax(axis=1), axis=1)
        pick = np.where(is_open.any(axis=1), pick, nobody)
        chosen[rows] = pick
        free[pick, columns] = False
    return objects, np.append(taking_part, -1)[chosen]
