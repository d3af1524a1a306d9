from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from centernet_d2.evaluation.box_overlap import intersection_over_union
from centernet_d2.evaluation.voc_scores import (
    RECALL_LEVELS,
    VocDetections,
    VocObjects,
    best_objects,
    every_point_precision,
    interpolated_precision,
    score_detections,
)

from .voc_cases import random_case, slow_average_precision


def detections(*rows, kind=VocDetections):
    """Rows of (image, class, score, x1, y1, x2, y2)."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    last = table[:, 2] if kind is VocDetections else table[:, 2] > 0
    return kind(table[:, 0].astype(int), table[:, 1].astype(int), table[:, 3:], last)


objects = partial(detections, kind=VocObjects)  # the third column says: difficult


# Two images, class 0. By score: a hit, a second hit on the same object (false), one on the
# difficult object (nothing), a box of nothing (false), the second object (hit). Two objects are
# never found. Recall 1/4 1/4 . 1/4 2/4, precision 1 1/2 . 1/3 1/2.
BY_HAND_OBJECTS = objects(
    (0, 0, 0, 1, 1, 10, 10),
    (0, 0, 1, 31, 31, 40, 40),
    (1, 0, 0, 1, 1, 20, 20),
    (1, 0, 0, 31, 1, 50, 20),
    (1, 0, 0, 31, 31, 50, 50),
)
BY_HAND_DETECTIONS = detections(
    (1, 0, 0.5, 2, 1, 20, 20),
    (0, 0, 0.9, 1, 1, 10, 10),
    (0, 0, 0.8, 1, 1, 10, 9),
    (0, 0, 0.7, 31, 31, 40, 40),
    (1, 0, 0.6, 1, 31, 10, 40),
)


def test_case_worked_out_by_hand():
    scores = score_detections(BY_HAND_DETECTIONS, BY_HAND_OBJECTS, num_classes=1)
    # 11 points: recall 0 to 0.2 at precision 1, 0.3 to 0.5 at 1/2, 0.6 to 1 at 0.
    assert scores.eleven_point[0, 0] == pytest.approx((3 * 1 + 3 * 0.5) / 11, abs=1e-12)
    # Area: a quarter at precision 1, a quarter at 1/2.
    assert scores.every_point[0, 0] == pytest.approx(3 / 8, abs=1e-12)
    assert scores.objects.tolist() == [4]


def test_difficult_objects_would_change_it():
    easy = replace(BY_HAND_OBJECTS, difficult=np.zeros(5, bool))
    scores = score_detections(BY_HAND_DETECTIONS, easy, num_classes=1)
    # Recall 1/5 1/5 2/5 2/5 3/5, precision 1 1/2 2/3 2/4 3/5.
    assert scores.every_point[0, 0] == pytest.approx((1 + 2 / 3 + 3 / 5) / 5, abs=1e-12)


def test_an_overlap_equal_to_the_threshold_is_too_little():
    truth = objects((0, 0, 0, 1, 1, 10, 10))
    half = detections((0, 0, 0.9, 1, 1, 10, 5))  # 50 of 100 pixels, corners included
    assert intersection_over_union(half.boxes, truth.boxes, extra=1)[0] == 0.5
    assert score_detections(half, truth, num_classes=1).every_point[0, 0] == 0
    assert score_detections(half, truth, num_classes=1, strict=False).every_point[0, 0] == 1
    # As edges it is 36 of 81.
    assert intersection_over_union(half.boxes, truth.boxes)[0] == pytest.approx(36 / 81)


@pytest.mark.parametrize("inclusive", [True, False])
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_slow_way(seed, strict, inclusive):
    found, truth = random_case(seed)
    thresholds = (0.3, 0.5, 0.75)
    options = {"strict": strict, "inclusive_pixels": inclusive}
    scores = score_detections(found, truth, num_classes=3, thresholds=thresholds, **options)
    positive = 0
    for row, threshold in enumerate(thresholds):
        for category in range(3):
            expected = slow_average_precision(
                found, truth, category, threshold, inclusive=float(inclusive), strict=strict
            )
            positive += 0 < expected[1] < 0.99
            actual = scores.eleven_point[row, category], scores.every_point[row, category]
            assert actual == pytest.approx(expected, abs=1e-12)
    assert positive >= 7


def test_of_equal_overlaps_the_first_object_is_taken():
    truth = objects((0, 1, 0, 1, 1, 4, 4), (0, 0, 0, 1, 1, 4, 4), (0, 0, 0, 1, 1, 4, 4))
    best, overlap = best_objects(detections((0, 0, 1, 1, 1, 4, 4), (3, 0, 1, 1, 1, 4, 4)), truth)
    assert best.tolist() == [1, -1]
    assert overlap.tolist() == [1, 0]


def test_classes_without_objects_or_detections():
    found, truth = detections((0, 2, 0.9, 1, 1, 5, 5)), objects((0, 1, 0, 1, 1, 5, 5))
    scores = score_detections(found, truth, num_classes=3)
    np.testing.assert_array_equal(scores.every_point, [[np.nan, 0, np.nan]])
    np.testing.assert_array_equal(scores.eleven_point, [[np.nan, 0, np.nan]])
    assert np.isnan(score_detections(detections(), objects(), num_classes=1).every_point).all()


def test_curves():
    for recall, precision, expected in ([1.0], [0.25], 0.25), ([], [], 0):
        found = interpolated_precision(np.array(recall), np.array(precision), RECALL_LEVELS)
        assert found == pytest.approx(expected)
    assert every_point_precision(np.array([0.5, 1.0]), np.array([0.25, 0.5])) == 0.5
    assert every_point_precision(np.zeros(0), np.zeros(0)) == 0


@pytest.mark.data
def test_published_values_of_seven_images(test_data):
    """`voc_ap_ref`: expected values of another project's own unit test (it counts IoU >= t)."""
    folder = test_data / "voc_ap_ref"
    expected = json.loads((folder / "expected.json").read_text())
    rows = {"gts": [], "dets": []}
    for kind, table in rows.items():
        for image, file in enumerate(sorted((folder / kind).glob("*.txt"))):
            for line in file.read_text().splitlines():
                numbers = [float(word) for word in line.split()[1:]]
                x, y, width, height = numbers[-4:]
                first = numbers[0] if kind == "dets" else 0
                table.append((image, 0, first, x, y, x + width, y + height))
    assert len(rows["gts"]) == 15
    assert len(rows["dets"]) == 24
    given = detections(*rows["dets"]), objects(*rows["gts"])
    options = {"num_classes": 1, "thresholds": (0.1, 0.3, 0.5, 0.75)}
    for strict in (True, False):  # no overlap is exactly a threshold
        scores = score_detections(*given, **options, strict=strict)
        for name, values in zip(
            ("AP_11point_by_iou", "AP_everypoint_by_iou"), scores[:2], strict=True
        ):
            assert values[:, 0] == pytest.approx(list(expected[name].values()), abs=1e-9)
