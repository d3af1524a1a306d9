"""Corner mAP against its definition, written out, and on a detector with known corners."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from centernet_d2.analysis.corner_quadrants import (
    Corners,
    corner_mean_average_precision,
    corner_quadrants,
    found_corners,
    match_corners,
)
from centernet_d2.analysis.matching import precision_at_recalls
from centernet_d2.analysis.oracle import Oracle

from .conftest import BOXES, CLASSES, entry_with_objects

SIZE = (60, 80)


def corners(points, classes, scores=None) -> Corners:
    return Corners(
        np.array(points, dtype=float).reshape(-1, 2),
        np.array(classes, dtype=np.int64),
        None if scores is None else np.array(scores, dtype=float),
        SIZE,
    )


def test_the_best_take_the_nearest_within_the_radius():
    truth = corners([[10, 10], [14, 10], [50, 50]], [0, 0, 1])
    found = corners(
        [[11, 10], [13, 10], [12, 10], [50, 50], [53, 54], [53, 54]],
        [0, 0, 0, 0, 1, 1],
        [0.5, 0.9, 0.7, 0.9, 0.2, 0.3],
    )
    # .9 takes (14, 10); .7 is nearer to it, takes (10, 10); .5 finds none left. The second .9 is of
    # another class; of the last two, exactly 5 away, the better one is first.
    assert match_corners(found, truth, 5).tolist() == [False, True, True, False, False, True]
    assert not match_corners(found, truth, 4.99)[4:].any()
    assert match_corners(found, truth, 0).tolist() == [False] * 6


def brute_force(found, truth, radius, quadrant) -> float:
    """Class by class, detection by detection, recall by recall."""

    def inside(point, size):
        height, width = size
        x, y = point
        if quadrant == "top_left":
            return x < width / 2 and y < height / 2
        if quadrant == "bottom_right":
            return x >= width / 2 and y >= height / 2
        return True

    values = []
    for k in range(10):
        objects = {
            (image, row): point
            for image, t in enumerate(truth)
            for row, (point, c) in enumerate(zip(t.points, t.classes, strict=True))
            if c == k and inside(point, t.image_size)
        }
        if not objects:
            continue
        count = len(objects)
        detections = [
            (-score, image, row, point)
            for image, f in enumerate(found)
            for row, (point, c, score) in enumerate(zip(f.points, f.classes, f.scores, strict=True))
            if c == k and inside(point, f.image_size)
        ]
        curve, hits = [], 0
        for rank, (_, image, _, point) in enumerate(sorted(detections, key=lambda d: d[:3]), 1):
            near = [(math.dist(point, objects[key]), key) for key in objects if key[0] == image]
            if near and min(near)[0] <= radius:
                del objects[min(near)[1]]
                hits += 1
            curve.append((hits / count, hits / rank))
        values.append(
            np.mean(
                [
                    max((precision for recall, precision in curve if recall >= wanted), default=0)
                    for wanted in np.linspace(0, 1, 101)
                ]
            )
        )
    return 100 * float(np.mean(values)) if values else math.nan


@pytest.mark.parametrize("quadrant", ["all", "top_left", "bottom_right"])
@pytest.mark.parametrize("radius", [2.0, 6.0])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_definition(seed, radius, quadrant):
    rng = np.random.default_rng(seed)
    found, truth = [], []
    for _ in range(6):
        points = rng.uniform(0, 1, (rng.integers(0, 15), 2)) * (80, 60)
        classes = rng.integers(0, 4, len(points))
        truth.append(corners(points, classes))
        extra = rng.uniform(0, 1, (5, 2)) * (80, 60)
        near = np.repeat(points, 2, axis=0)
        near = near + rng.normal(0, 3, near.shape)
        count = len(near) + 5
        found.append(
            corners(
                np.concatenate([near, extra]),
                np.concatenate([np.repeat(classes, 2), rng.integers(0, 5, 5)]),
                rng.random(count).round(2),  # ties
            )
        )
    value = corner_mean_average_precision(found, truth, radius=radius, quadrant=quadrant)
    assert value == pytest.approx(brute_force(found, truth, radius, quadrant), abs=1e-9)
    assert 1 < value < 99


def test_precision_of_known_curves():
    assert precision_at_recalls(np.array([True, True]), 2).mean() == 1
    assert precision_at_recalls(np.array([False, True]), 1).mean() == 0.5
    assert precision_at_recalls(np.array([True]), 2).mean() == pytest.approx(51 / 101)
    assert precision_at_recalls(np.zeros(0, dtype=bool), 3).mean() == 0


def test_borders_of_the_quadrants():
    points = [[39.9, 29.9], [40, 30], [39.9, 30], [40, 29.9]]
    truth = corners(points, range(4))
    for quadrant, row in (("top_left", 0), ("bottom_right", 1)):
        assert truth.within(quadrant).classes.tolist() == [row]
    found = corners(points[1:2], [1], [0.5])
    assert corner_mean_average_precision(
        [found], [truth], radius=1, quadrant="bottom_right"
    ) == pytest.approx(100)
    # A corner that is found on the other side of the border does not count for the quadrant.
    assert (
        corner_mean_average_precision(
            [corners([[39.9, 29.9]], [1], [0.5])], [truth], radius=5, quadrant="bottom_right"
        )
        == 0
    )


def test_nothing_found_nothing_there_and_wrong_arguments():
    nothing, one = corners([], [], []), corners([[1, 1]], [0])
    assert corner_mean_average_precision([nothing], [one], radius=1) == 0
    assert math.isnan(corner_mean_average_precision([nothing], [corners([], [])], radius=1))
    assert math.isnan(corner_mean_average_precision([], [], radius=1))
    with pytest.raises(ValueError, match=r"quadrant .*top_left.*'left'"):
        corner_mean_average_precision([nothing], [one], radius=1, quadrant="left")
    with pytest.raises(ValueError, match="radius must be 0 or more, got -1"):
        corner_mean_average_precision([nothing], [one], radius=-1)


def told(model, entry):
    """Replace what a detector predicts for one input by the truth."""
    predict, oracle = model.predict, Oracle(model, ["heatmaps", "offsets"])

    def predict_truth(images):
        return [oracle._tell(predict(images)[-1], images, entry["instances"])]

    model.predict = predict_truth
    return model


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("architecture", ["CornerNet", "TripletCenterNet"])
def test_corners_lie_where_the_objects_are(built, architecture, flip):
    model, entry = built(architecture, "TEST.FLIP", flip), entry_with_objects()
    found = found_corners(told(model, entry), entry)
    for name, columns in (("top_left", slice(0, 2)), ("bottom_right", slice(2, 4))):
        assert found[name].image_size == (70, 90)
        assert len(found[name].points) == 40
        best = found[name].scores == 1
        order = np.argsort(found[name].classes[best])
        assert found[name].classes[best][order].tolist() == CLASSES
        np.testing.assert_allclose(
            found[name].points[best][order],
            np.array(BOXES)[:, columns],
            rtol=0,
            atol=1e-3,
        )


def test_table_of_a_detector_that_knows_its_corners(built):
    entry = entry_with_objects()
    model = told(built("CornerNet"), entry)
    table = corner_quadrants(model, [[entry]], radius=0.01)
    assert table["top_left"]["all"] == pytest.approx(100)
    assert table["bottom_right"]["all"] == pytest.approx(100)
    assert table["top_left"]["top_left"] == pytest.approx(100)
    assert table["bottom_right"]["bottom_right"] == pytest.approx(100)
    assert math.isnan(table["top_left"]["bottom_right"])  # all three begin above or on the left
    boxes = [[BOXES[0][0] + 3, *BOXES[0][1:]]]
    moved = {**entry, "instances": entry_with_objects(boxes, CLASSES[:1])["instances"]}
    assert corner_quadrants(model, [[moved]], radius=2)["top_left"]["all"] == 0
    assert corner_quadrants(model, [[moved]], radius=4)["top_left"]["all"] == pytest.approx(100)


def test_detectors_without_corners_are_named(tiny_config):
    from detectron2.modeling import build_model

    with pytest.raises(ValueError, match="PointsCenterNet finds no corners"):
        corner_quadrants(build_model(tiny_config()), [], radius=1)


def test_images_keep_their_own_size():
    one = corners([[30, 20]], [0], [0.9])
    small = replace(one, image_size=(30, 40))
    assert len(one.within("top_left").points) == 1
    assert len(small.within("top_left").points) == 0
    assert len(small.within("bottom_right").points) == 1
