"""KITTI's scores the slow way, and detections from result files.

The slow way loops over frames, thresholds and objects, one at a time. It is written after the rules
alone, without any function of the package's fast form.
"""

from __future__ import annotations

import math

import numpy as np

from centernet_d2.data.datasets.kitti_labels import read_labels
from centernet_d2.evaluation.kitti_objects import KittiDetections

LIMITS = ((40, 0, 0.15), (25, 1, 0.30), (25, 2, 0.50))


def read_detections(folder, image_ids, class_names) -> KittiDetections:
    """Result files of the frames; every type must be a class."""
    rows = [
        (frame, class_names.index(item.type), item)
        for frame, image_id in enumerate(image_ids)
        for item in read_labels(str(folder / f"{image_id}.txt"))
    ]
    items = [row[2] for row in rows]
    box3d = [(*item.location, *item.dimensions, item.rotation_y, item.alpha) for item in items]
    return KittiDetections(
        frame=np.array([row[0] for row in rows]),
        label=np.array([row[1] for row in rows]),
        boxes=np.array([item.box for item in items]),
        boxes3d=np.array(box3d),
        scores=np.array([item.score for item in items]),
    )


def slow_curves(truth, detections, overlap, region_share, *, label, level, min_overlap, in_image):
    """Precision and orientation similarity (41,) of one class, and how many were to be found.

    `overlap(object row, detection row)` and `region_share(region row, detection row)` are given.
    """
    frames = [
        _frame(truth, detections, frame, label, LIMITS[level], in_image)
        for frame in range(max(truth.frame.max(), detections.frame.max()) + 1)
    ]
    total = sum(counted for objects, _, _ in frames for _, counted in objects)
    scores = []
    for objects, found, _ in frames:
        pairs = _greedy(objects, found, overlap, min_overlap, lambda row, _: detections.scores[row])
        scores += [detections.scores[candidate] for _, candidate, right in pairs if right]

    precision, similarity = np.zeros(41), np.zeros(41)
    for number, threshold in enumerate(slow_thresholds(scores, total)):
        tp, fp, agreement = 0, 0, 0.0
        for objects, found, regions in frames:
            high = [(row, valid) for row, valid in found if detections.scores[row] >= threshold]
            pairs = _greedy(objects, high, overlap, min_overlap, None)
            for row, candidate, right in pairs:
                turn = truth.boxes3d[row, 7] - detections.boxes3d[candidate, 7]
                tp, agreement = tp + right, agreement + right * (1 + math.cos(turn)) / 2
            taken = {candidate for _, candidate, _ in pairs}
            left = [row for row, valid in high if valid and row not in taken]
            fp += sum(not any(region_share(r, row) > min_overlap for r in regions) for row in left)
        if tp + fp:
            precision[number] = tp / (tp + fp)
            similarity[number] = agreement / (tp + fp)
    for number in range(40):
        precision[number] = precision[number:].max()
        similarity[number] = similarity[number:].max()
    return precision, similarity, total


def _frame(truth, detections, frame, label, limits, in_image):
    """(object, counted), (detection, valid) and regions of a frame that take part."""
    height, occluded, truncated = limits
    objects, found = [], []
    for row in np.flatnonzero((truth.frame == frame) & (truth.label == label)):
        tall = truth.boxes[row, 3] - truth.boxes[row, 1] > height
        seen = truth.occluded[row] <= occluded and truth.truncated[row] <= truncated
        objects.append((row, bool(tall and seen and not truth.neighbor[row])))
    for row in np.flatnonzero(detections.frame == frame):
        low = int(abs(detections.boxes[row, 3] - detections.boxes[row, 1])) < height
        if low or detections.label[row] == label:
            found.append((row, not low))
    regions = np.flatnonzero((truth.frame == frame) & (truth.label == -1)) if in_image else []
    return objects, found, regions


def _greedy(objects, found, overlap, min_overlap, rank):
    """(object, detection, whether that is right) as objects choose in turn.

    By `rank(detection, overlap)`, or where that is None by overlap, valid ones first.
    """
    taken, pairs = set(), []
    for row, counted in objects:
        best = None
        for candidate, valid in found:
            shared = overlap(row, candidate)
            if candidate in taken or not shared > min_overlap:
                continue
            # Of the low ones the first is kept, whatever the overlaps.
            worth = (valid, shared if valid else 0) if rank is None else rank(candidate, shared)
            if best is None or worth > best[0]:
                best = (worth, candidate, valid)
        if best is not None:
            taken.add(best[1])
            pairs.append((row, best[1], counted and best[2]))
    return pairs


def slow_thresholds(scores, total):
    """Scores at which the recall is nearest to the next fortieth."""
    scores = sorted(scores, reverse=True)
    thresholds, recall = [], 0.0
    for i, score in enumerate(scores):
        left = (i + 1) / total
        right = (i + 2) / total if i < len(scores) - 1 else left
        if right - recall < recall - left and i < len(scores) - 1:
            continue
        thresholds.append(score)
        recall += 1 / 40
    return thresholds
