"""Which detection found which object, and what is counted from that. Arrays in, arrays out.

COCO's rule: detections by falling score each take, of the objects of their picture with an IoU of
0.5 or more that are not taken, the one with the largest, and only where there is none a neutral one
(crowd, ignored, difficult): then they count as nothing, any number of them. For a crowd the IoU is
the share of the detection. D detections, G objects, C classes, T thresholds.
"""

from dataclasses import dataclass

import numpy as np

from ..evaluation.box_overlap import box_area, intersection, pairs_of_equals, ratio
from ..evaluation.voc_scores import VocDetections, VocObjects

IOU, NONE = 0.5, -1
RECALLS = np.linspace(0, 1, 101)  # COCO's


@dataclass(frozen=True)
class Objects(VocObjects):
    """G objects; those that are `difficult` are neutral."""

    crowd: np.ndarray  # (G,) bool, among the neutral ones

    def overlaps(self, found: VocDetections, rows: np.ndarray) -> np.ndarray:
        """(P,) IoU of P detections and P rows of these, 0: not enough to have found it."""
        boxes, crowd = self.boxes[rows], self.crowd[rows]
        shared = intersection(found.boxes, boxes)
        rest = np.where(crowd, 0, box_area(boxes) - shared)
        overlap = ratio(shared, box_area(found.boxes) + rest)
        return np.where(overlap >= IOU, overlap, 0)


@dataclass(frozen=True)
class Matches:
    """Who found whom among those of one class."""

    found: VocDetections  # by falling score
    objects: Objects
    wanted: np.ndarray  # (C,) number of objects to be found
    object_of: np.ndarray  # (D,) row of `objects`, NONE
    true: np.ndarray  # (D,) bool: found an object that counts
    false: np.ndarray  # (D,) bool: found nothing, not even a neutral object

    def missed(self, threshold: float) -> np.ndarray:
        """(G,) bool: to be found, and not found by a detection of this score or more."""
        hits = self.object_of[self.true & (self.found.scores >= threshold)]
        return ~self.objects.difficult & ~np.isin(np.arange(len(self.objects)), hits)


def match(found: VocDetections, objects: Objects, num_classes: int, most: int) -> Matches:
    """Match within classes; of each picture and class the `most` best count, as COCO's 100."""
    found = found[np.argsort(-found.scores, kind="stable")]
    key = found.image * num_classes + found.category
    order = np.argsort(key, kind="stable")
    place = np.arange(len(key)) - np.searchsorted(key[order], key[order])
    found = found[np.sort(order[place < most])]
    object_of = pair_up(found, objects, by_class=True)
    true = (object_of != NONE) & ~np.append(objects.difficult, True)[object_of]
    wanted = np.bincount(objects.category[~objects.difficult], minlength=num_classes)
    return Matches(found, objects, wanted, object_of, true, object_of == NONE)


def pair_up(found: VocDetections, objects: Objects, *, by_class: bool) -> np.ndarray:
    """(D,) row of the object of each detection, by falling score; of its class, or of any."""
    classes = 1 + max(found.category.max(initial=0), objects.category.max(initial=0))
    key, wanted = (side.image * classes + side.category * by_class for side in (objects, found))
    order, pairs = np.argsort(key, kind="stable"), [np.zeros((3, 0))]
    for row, place in pairs_of_equals(wanted, key[order]):
        there = order[place]
        overlap = objects.overlaps(found[row], there)
        pairs.append(np.stack([row, there, overlap])[:, overlap > 0])
    rows, there, overlap = np.concatenate(pairs, axis=1)
    rows, there = rows.astype(int), there.astype(int)
    order = np.lexsort([-there, -overlap, objects.difficult[there], rows])  # COCO: the last equal
    result, taken = np.full(len(found), NONE), np.zeros(len(objects), bool)
    for d, g in zip(rows[order].tolist(), there[order].tolist(), strict=True):
        if result[d] == NONE and not taken[g]:
            result[d], taken[g] = g, not objects.difficult[g]
    return result


def precisions(matches: Matches) -> np.ndarray:
    """(C, 101) COCO's interpolated precision at `RECALLS`; -1 of a class without objects."""
    result = np.full((len(matches.wanted), len(RECALLS)), -1.0)
    for label in np.flatnonzero(matches.wanted):
        counted = (matches.found.category == label) & (matches.true | matches.false)
        result[label] = precision_at_recalls(matches.true[counted], matches.wanted[label])
    return result


def precision_at_recalls(right: np.ndarray, count: int) -> np.ndarray:
    """(101,) of detections (n,), best first, of which `right` are; `count` objects exist."""
    hits = np.cumsum(right)
    envelope = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return np.append(envelope, 0.0)[np.searchsorted(hits / count, RECALLS, side="left")]


def by_threshold(matches: Matches) -> dict[str, np.ndarray]:
    """What score thresholds keep, in row 0 of all classes together, then of each class.

    Returns:
        `threshold` (T,), with three decimals as they are typed (of scores above 1: to the highest);
        (1 + C,) `wanted`, objects; (1 + C, T) `true` and `false` detections, `precision`, `recall`,
        `f1`, NaN where there is nothing to divide by.
    """
    scores, top = matches.found.scores, max(1.0, matches.found.scores.max(initial=0))
    threshold = np.linspace(0, top, 1001).round(3 if top == 1 else 9)
    classes = range(len(matches.wanted))

    def kept(kind: np.ndarray) -> np.ndarray:
        chosen = (kind, *(kind & (matches.found.category == label) for label in classes))
        ascending = (scores[rows][::-1] for rows in chosen)
        return np.array([len(values) - np.searchsorted(values, threshold) for values in ascending])

    true, false = kept(matches.true), kept(matches.false)
    wanted = np.append(matches.wanted.sum(), matches.wanted)[:, None]
    with np.errstate(invalid="ignore"):
        values = {"precision": true / (true + false), "recall": true / wanted}
        values["f1"] = np.where(wanted > 0, 2 * true / (true + false + wanted), np.nan)
    return {"threshold": threshold, "wanted": wanted[:, 0], "true": true, "false": false, **values}


def advised(at: dict[str, np.ndarray], row: int) -> dict[str, float | None]:
    """The threshold of the best F1 (the middle one of equals) and the lowest of precision 0.9."""
    known = at["true"][row] > 0
    best = np.flatnonzero(known & (at["f1"][row] == at["f1"][row].max(where=known, initial=0)))
    precise = np.flatnonzero(known & (at["precision"][row] >= 0.9))
    found: dict[str, float | None] = dict.fromkeys(("f1", "precision", "recall", "threshold"))
    if len(best):
        place = best[len(best) // 2]
        found = {name: float(at[name][row, place]) for name in ("f1", "precision", "recall")}
        found["threshold"] = float(at["threshold"][place])
    return found | {"precise_from": float(at["threshold"][precise[0]]) if len(precise) else None}


def confusion(matches: Matches, threshold: float) -> np.ndarray:
    """(C + 1, C + 1) counts: a row per true class, a column per detected one, last: background.

    Of detections of this score or more, matched by score whatever their class: of two classes on
    one object the better score takes it, and the other is one of the background.
    """
    found, objects = matches.found[matches.found.scores >= threshold], matches.objects
    object_of, last = pair_up(found, objects, by_class=False), len(matches.wanted)
    counted = ~np.append(objects.difficult, False)[object_of]
    left = ~objects.difficult & ~np.isin(np.arange(len(objects)), object_of)
    counts = np.zeros((last + 1, last + 1), np.int64)
    truth = np.append(objects.category, last)[object_of]
    np.add.at(counts, (truth[counted], found.category[counted]), 1)
    np.add.at(counts, (objects.category[left], last), 1)
    return counts


def crowding(objects: Objects) -> np.ndarray:
    """(G,) the largest IoU with another object of the picture, of any class."""
    order = np.argsort(objects.image, kind="stable")
    boxes, largest = objects.boxes[order], np.zeros(len(order))
    for first, second in pairs_of_equals(objects.image[order], objects.image[order]):
        shared = intersection(boxes[first], boxes[second])
        overlap = ratio(shared, box_area(boxes[first]) + box_area(boxes[second]) - shared)
        np.maximum.at(largest, order[first], np.where(first == second, 0, overlap))
    return largest
