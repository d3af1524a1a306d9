"""Random detections and a slow scorer for the tests of VOC."""

from __future__ import annotations

import numpy as np

from centernet_d2.evaluation.voc_scores import VocDetections, VocObjects


def random_boxes(random, count, size=40) -> np.ndarray:
    """Whole-numbered XYXY boxes, corners included, on a small image so that many overlap."""
    low = random.integers(1, size, (count, 2))
    return np.concatenate([low, low + random.integers(0, size // 2, (count, 2))], axis=1) * 1.0


def random_case(seed, images=12, classes=3, objects=40, detections=300):
    """Objects and detections: a third of the detections jittered objects, scores with ties."""
    random = np.random.default_rng(seed)
    truth = VocObjects(
        image=np.sort(random.integers(0, images, objects)),
        category=random.integers(0, classes, objects),
        boxes=random_boxes(random, objects),
        difficult=random.random(objects) < 0.25,
    )
    boxes = random_boxes(random, detections)
    image, category = (
        random.integers(0, images, detections),
        random.integers(0, classes, detections),
    )
    copied = np.flatnonzero(random.random(detections) < 0.6)
    source = random.integers(0, objects, len(copied))
    boxes[copied] = truth.boxes[source] + random.integers(-2, 3, (len(copied), 4))
    image[copied], category[copied] = truth.image[source], truth.category[source]
    scores = random.integers(0, 100, detections) / 100
    return VocDetections(image, category, boxes, scores), truth


def slow_average_precision(detections, objects, category, threshold, *, inclusive=1.0, strict=True):
    """(11-point, every-point) AP of one class, by the rules read aloud, one detection at a time."""
    mine = [k for k in range(len(detections)) if detections.category[k] == category]
    mine.sort(key=lambda k: -detections.scores[k])
    theirs = [k for k in range(len(objects)) if objects.category[k] == category]
    total = sum(not objects.difficult[k] for k in theirs)
    taken, true, false, curve = set(), 0, 0, []
    for k in mine:
        best, which = -1.0, None
        for g in theirs:
            if objects.image[g] == detections.image[k]:
                overlap = slow_overlap(detections.boxes[k], objects.boxes[g], inclusive)
                if overlap > best:
                    best, which = overlap, g
        if which is not None and (best > threshold if strict else best >= threshold):
            if objects.difficult[which]:
                continue
            if which not in taken:
                taken.add(which)
                true += 1
            else:
                false += 1
        else:
            false += 1
        curve.append((true / total, true / (true + false)))
    eleven = 0.0
    for level in np.arange(0.0, 1.1, 0.1):
        eleven += max([p for r, p in curve if r >= level], default=0.0) / 11
    every, last = 0.0, 0.0
    for k, (recall, _) in enumerate(curve):
        every += (recall - last) * max(p for _, p in curve[k:])
        last = recall
    return eleven, every


def slow_overlap(a, b, inclusive) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + inclusive
    height = min(a[3], b[3]) - max(a[1], b[1]) + inclusive
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(c[2] - c[0] + inclusive) * (c[3] - c[1] + inclusive) for c in (a, b)]
    return width * height / (sum(areas) - width * height)
