from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from benchmarks.kitti_scores import random_split
from centernet_d2.evaluation import box_overlap
from centernet_d2.evaluation.box_overlap import intersection_over_union
from centernet_d2.evaluation.kitti_ap import (
    average_precision,
    score_kitti,
    score_thresholds,
)
from centernet_d2.evaluation.kitti_objects import (
    DONT_CARE,
    KittiDetections,
    KittiTruth,
)
from centernet_d2.evaluation.kitti_overlap import (
    covered_share,
    overlapping_pairs,
    rotated_overlap,
)
from centernet_d2.structures.box3d_records import NO_BOX3D

from .kitti_cases import slow_curves, slow_thresholds

EASY, MODERATE, HARD = range(3)
IMAGE = {"a": {"image": (0.5,)}}


def make_truth(*rows) -> KittiTruth:
    """Rows: frame, label, box, and keywords; each upright and fully seen unless told otherwise."""
    defaults = {"neighbor": False, "truncated": 0.0, "occluded": 0, "box3d": NO_BOX3D}
    rows = [(*row[:3], {**defaults, **(row[3] if len(row) > 3 else {})}) for row in rows]
    return KittiTruth(
        frame=np.array([row[0] for row in rows], dtype=np.int64),
        label=np.array([row[1] for row in rows], dtype=np.int64),
        neighbor=np.array([row[3]["neighbor"] for row in rows], dtype=bool),
        boxes=np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 4),
        boxes3d=np.array([row[3]["box3d"] for row in rows], dtype=np.float64).reshape(-1, 8),
        truncated=np.array([row[3]["truncated"] for row in rows], dtype=np.float64),
        occluded=np.array([row[3]["occluded"] for row in rows], dtype=np.int64),
    )


def make_found(*rows) -> KittiDetections:
    """Rows: frame, label, box, score[, 3-D box]."""
    return KittiDetections(
        frame=np.array([row[0] for row in rows], dtype=np.int64),
        label=np.array([row[1] for row in rows], dtype=np.int64),
        boxes=np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 4),
        boxes3d=np.array(
            [row[4] if len(row) > 4 else NO_BOX3D for row in rows], dtype=np.float64
        ).reshape(-1, 8),
        scores=np.array([row[3] for row in rows], dtype=np.float64),
    )


def precision(truth, found, level=MODERATE, label=0, min_overlap=IMAGE):
    return score_kitti(truth, found, min_overlap)["a"]["image"].precision[label, level]


A, B, C = (0, 0, 100, 100), (200, 0, 300, 100), (400, 0, 500, 100)
NOWHERE = (800, 0, 900, 100)


# ---- by hand ----


def test_one_of_two_found_and_one_false_positive():
    """Recall samples: 0 to 0.5 is one threshold at 0.9 (precision 1), one more at 0.9's recall."""
    truth = make_truth((0, 0, A), (1, 0, B))
    found = make_found((0, 0, A, 0.9), (0, 0, NOWHERE, 0.8), (1, 0, B, 0.7))
    curves = score_kitti(truth, found, IMAGE)["a"]["image"]
    assert curves.objects[0].tolist() == [2, 2, 2]
    assert curves.precision[0, MODERATE, :3].tolist() == [1, 2 / 3, 0]
    assert average_precision(curves.precision, curves.objects, 11)[0, 0] == pytest.approx(100 / 11)
    assert average_precision(curves.precision, curves.objects, 40)[0, 0] == pytest.approx(
        100 * (2 / 3) / 40
    )


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"occluded": 1}, (False, True, True)),
        ({"occluded": 2}, (False, False, True)),
        ({"occluded": 3}, (False, False, False)),
        ({"truncated": 0.15}, (True, True, True)),
        ({"truncated": 0.31}, (False, False, True)),
        ({"truncated": 0.51}, (False, False, False)),
        ({"neighbor": True}, (False, False, False)),
    ],
)
def test_what_does_not_count_is_no_false_positive_either(change, counts):
    truth = make_truth((0, 0, A), (0, 0, B, change))
    found = make_found((0, 0, B, 0.9), (0, 0, A, 0.8))
    for level, counted in enumerate(counts):
        curves = score_kitti(truth, found, IMAGE)["a"]["image"]
        assert curves.objects[0, level] == 1 + counted
        assert curves.precision[0, level, 0] == 1
        alone = score_kitti(make_truth((0, 0, A)), found, IMAGE)["a"]["image"]
        assert alone.precision[0, level, 0] == 0.5


def test_the_limits_of_height():
    """An object must be higher than the limit, a detection not lower in whole pixels."""
    low, limit, high = (0, 0, 100, 24.9), (0, 0, 100, 25), (0, 0, 100, 25.1)
    for box, counted in ((low, 0), (limit, 0), (high, 1)):
        curves = score_kitti(make_truth((0, 0, box)), make_found((0, 0, A, 0.9)), IMAGE)
        assert curves["a"]["image"].objects[0].tolist() == [0, counted, counted]
    truth = make_truth((0, 0, A))
    for box, fp in ((low, 0), (limit, 1), ((0, 0, 100, 40), 1)):
        moved = np.array(box) + NOWHERE[0]
        found = make_found((0, 0, A, 0.5), (0, 0, moved, 0.9))
        assert precision(truth, found)[0] == (0.5 if fp else 1)


def test_a_low_detection_of_any_class_takes_an_object():
    """It is neither right nor wrong, and the object is then neither found nor free for others."""
    truth = make_truth((0, 0, (0, 0, 100, 26)), (1, 0, A))
    low, right = (0, 1, (0, 0, 100, 24), 0.9), (1, 0, A, 0.4)
    other = (0, 0, (0, 0, 100, 40), 0.8)  # overlaps too, higher and of the class
    min_overlap = {"a": {"image": (0.5, 0.5)}}
    assert precision(truth, make_found(low, other, right), min_overlap=min_overlap)[0] == 1
    # For the thresholds the surer one is taken, for the curve the one that may count.
    assert precision(truth, make_found(low, other, right), min_overlap=min_overlap)[1] == 0
    assert precision(truth, make_found(other, low, right), min_overlap=min_overlap)[1] == 0


def test_the_best_overlap_wins_the_curve_and_the_best_score_the_threshold():
    loose, exact = (0, 0, 100, 60), A
    truth = make_truth((0, 0, A))
    found = make_found((0, 0, loose, 0.9), (0, 0, exact, 0.5))
    assert precision(truth, found)[0] == 1  # the threshold is 0.9, the other is below it
    found = make_found((0, 0, loose, 0.5), (0, 0, exact, 0.9))
    assert precision(truth, found)[0] == 1
    # Both above the threshold of another object's score: one is right, the other is false.
    truth = make_truth((0, 0, A), (1, 0, A))
    found = make_found((0, 0, loose, 0.9), (0, 0, exact, 0.8), (1, 0, A, 0.7))
    assert precision(truth, found)[:2].tolist() == [1, 2 / 3]


def test_an_overlap_must_exceed_the_minimum():
    truth = make_truth((0, 0, A))
    found = make_found((0, 0, (0, 0, 100, 50), 0.9))
    assert precision(truth, found)[0] == 0
    assert precision(truth, found, min_overlap={"a": {"image": (0.49,)}})[0] == 1


def test_detections_in_regions_do_not_count_in_the_image_alone():
    """By the share of the detection, however small the overlap; never one that an object has."""
    region = (700, 0, 1200, 500)
    truth = make_truth((0, 0, A), (0, DONT_CARE, region))
    found = make_found((0, 0, A, 0.5), (0, 0, NOWHERE, 0.9))
    assert precision(truth, found)[0] == 1
    assert precision(make_truth((0, 0, A)), found)[0] == 0.5
    elsewhere = make_truth((0, 0, A), (1, DONT_CARE, region))
    assert precision(elsewhere, found)[0] == 0.5
    solid = [0, 1.5, 10, 1.5, 1.6, 4, 0, 0]
    truth = make_truth((0, 0, A, {"box3d": solid}), (0, DONT_CARE, region))
    found = make_found((0, 0, A, 0.5, solid), (0, 0, NOWHERE, 0.9, np.add(solid, [20] + [0] * 7)))
    curves = score_kitti(truth, found, {"a": {"ground": (0.5,), "space": (0.5,)}})["a"]
    assert [curves[name].precision[0, 0, 0] for name in ("ground", "space")] == [0.5, 0.5]
    assert curves["ground"].orientation is None


def test_orientation_is_the_share_of_agreement():
    box = NO_BOX3D.copy()
    box[7] = 0.3
    truth = make_truth((0, 0, A, {"box3d": box}))
    for turn, expected in ((0, 1), (math.pi / 2, 0.5), (math.pi, 0)):
        found = make_found((0, 0, A, 0.9, [*box[:7], 0.3 + turn]))
        curves = score_kitti(truth, found, IMAGE)["a"]["image"]
        assert curves.orientation[0, 0, 0] == pytest.approx(expected)
    unknown = make_found((0, 0, A, 0.9, [*box[:7], -10]))
    assert score_kitti(truth, unknown, IMAGE)["a"]["image"].orientation is None


def test_tables_share_what_is_equal():
    truth, found = make_truth((0, 0, A)), make_found((0, 0, A, 0.9))
    both = score_kitti(truth, found, {"one": {"image": (0.5,)}, "two": {"image": (0.5,)}})
    assert both["one"]["image"] is both["two"]["image"]


def test_nothing_to_find_and_nothing_found():
    empty, nothing = make_truth(), make_found()
    for truth, found in ((empty, nothing), (empty, make_found((0, 0, A, 0.9)))):
        curves = score_kitti(truth, found, IMAGE)["a"]["image"]
        assert np.isnan(average_precision(curves.precision, curves.objects, 11)).all()
    curves = score_kitti(make_truth((0, 0, A)), nothing, IMAGE)["a"]["image"]
    assert (average_precision(curves.precision, curves.objects, 40) == 0).all()
    with pytest.raises(ValueError, match="points must be one of 11, 40, got 101"):
        average_precision(curves.precision, curves.objects, 101)


def test_thresholds_are_at_most_41():
    rng = np.random.default_rng(0)
    for objects in (1, 2, 7, 39, 40, 41, 42, 100, 1234):
        for share in (0.05, 0.5, 1):
            scores = rng.random(max(1, int(share * objects))).round(2)
            thresholds = score_thresholds(scores, objects)
            assert thresholds.tolist() == slow_thresholds(scores.tolist(), objects)
            assert len(thresholds) <= min(41, len(scores))


# ---- overlaps ----


def test_image_overlap():
    first = np.array([A, A, A, A], dtype=float)
    second = np.array([A, (50, 0, 150, 100), (100, 0, 200, 100), (0, 0, 0, 0)], dtype=float)
    assert intersection_over_union(first, second) == pytest.approx([1, 1 / 3, 0, 0])


def test_overlap_on_the_ground_and_in_space():
    car = np.array([1, 1.6, 20, 1.5, 2, 4, 0, 0.0])

    def changed(**change):
        names = ("x", "y", "z", "h", "w", "l", "turn", "alpha")
        return np.array([change.get(name, value) for name, value in zip(names, car, strict=True)])

    others = [
        (changed(), 1, 1),
        (changed(turn=math.pi), 1, 1),
        (changed(turn=math.pi / 2), 4 / 12, 4 / 12),
        (changed(x=3), 1 / 3, 1 / 3),  # half of the length
        (changed(z=21), 1 / 3, 1 / 3),  # half of the width
        (changed(y=2.35), 1, 1 / 3),  # half of the height
        (changed(y=3.2), 1, 0),  # above each other
        (changed(h=3), 1, 1 / 2),  # as high again, and so the lower half is shared
        (changed(x=50), 0, 0),
        (changed(l=-4), 0, 0),
        (changed(h=0), 0, 0),
        (NO_BOX3D, 0, 0),
    ]
    table = np.array([row[0] for row in others])
    ground, space = rotated_overlap(np.tile(car, (len(table), 1)), table)
    assert ground == pytest.approx([row[1] if row[0][3] > 0 else 0 for row in others], abs=1e-12)
    assert space == pytest.approx([row[2] for row in others], abs=1e-12)
    flipped = rotated_overlap(table, np.tile(car, (len(table), 1)))
    assert flipped[0] == pytest.approx(ground, abs=1e-12)
    assert flipped[1] == pytest.approx(space, abs=1e-12)


def test_share_in_regions_is_the_largest_of_one_region():
    halves = [(0, 0, 50, 100), (60, 0, 100, 100)]
    truth = make_truth(*((0, DONT_CARE, box) for box in halves))
    found = make_found((0, 0, A, 0.5), (0, 0, (0, 0, 0, 0), 0.5), (1, 0, A, 0.5))
    assert covered_share(truth, found).tolist() == [0.5, 0, 0]


@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_pairs_do_not_depend_on_the_portions(monkeypatch, at_once):
    truth, found = random_split(12, 5, 6, seed=1)
    expected = overlapping_pairs(truth, found, ("image", "space"), 0.1)
    assert len(expected["image"].truth) > 30
    monkeypatch.setattr(box_overlap, "PAIRS_AT_ONCE", at_once)
    again = overlapping_pairs(truth, found, ("image", "space"), 0.1)
    for metric, pairs in expected.items():
        assert np.array_equal(pairs.truth, again[metric].truth)
        assert np.array_equal(pairs.detection, again[metric].detection)
        assert np.allclose(pairs.overlap, again[metric].overlap, rtol=0, atol=1e-12)


# ---- against the slow way ----


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("metric", ["image", "ground", "space"])
def test_as_the_slow_way(seed, metric):
    """Crowded frames with equal scores, objects that compete, regions, low detections."""
    truth, found = random_split(14, 9, 16, seed=seed, jitter=0.5)
    # Nearer to each other than on a street, so that objects compete for detections.
    squeeze = np.array([0.2, 1, 0.2, 1])
    truth = replace(truth, boxes=truth.boxes * squeeze, boxes3d=_closer(truth.boxes3d))
    found = replace(found, boxes=found.boxes * squeeze, boxes3d=_closer(found.boxes3d))
    min_overlap = (0.2, 0.3, 0.2)
    curves = score_kitti(truth, found, {"a": {metric: min_overlap}})["a"][metric]

    @cache
    def overlap(row, candidate):
        if metric == "image":
            return intersection_over_union(truth.boxes[[row]], found.boxes[[candidate]])[0]
        both = rotated_overlap(truth.boxes3d[[row]], found.boxes3d[[candidate]])
        return both[metric == "space"][0]

    def region_share(region, candidate):
        a, b = truth.boxes[region], found.boxes[candidate]
        sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
        return max(sides[0], 0) * max(sides[1], 0) / ((b[2] - b[0]) * (b[3] - b[1]))

    for label in range(3):
        for level in range(3):
            expected = slow_curves(
                *(truth, found, overlap, region_share),
                label=label,
                level=level,
                min_overlap=min_overlap[label],
                in_image=metric == "image",
            )
            assert curves.objects[label, level] == expected[2]
            assert curves.precision[label, level] == pytest.approx(expected[0], abs=1e-12)
            if metric == "image":
                assert curves.orientation[label, level] == pytest.approx(expected[1], abs=1e-12)
    assert 0.05 < curves.precision[1].mean() < 0.9


def _closer(boxes3d):
    known = boxes3d[:, 2] > -1000
    return np.where(known[:, None], boxes3d * [0.2, 1, 0.2, 1, 1, 1, 1, 1], boxes3d)


def test_the_slow_way_sees_conflicts():
    """Or the comparison would compare nothing: detections that several objects could take."""
    truth, found = random_split(14, 9, 16, seed=0, jitter=0.5)
    truth = replace(truth, boxes=truth.boxes * [0.2, 1, 0.2, 1])
    found = replace(found, boxes=found.boxes * [0.2, 1, 0.2, 1])
    pairs = overlapping_pairs(truth, found, ("image",), 0.2)["image"]
    assert (np.unique(pairs.detection, return_counts=True)[1] > 1).sum() > 20
    assert (np.unique(pairs.truth, return_counts=True)[1] > 2).sum() > 20
    assert (covered_share(truth, found) > 0.2).sum() > 3
    assert len(np.unique(found.scores)) < len(found)
