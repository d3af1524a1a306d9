"""Drawn joints stand on their pixels, in the colours of their sides; limbs between joints seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances, Keypoints

from centernet_d2.structures.skeleton import SIDE_COLORS, Skeleton
from centernet_d2.visualization.detections import draw_detections
from centernet_d2.visualization.results import draw_truth, enlarged
from centernet_d2.visualization.skeletons import SkeletonDrawing, draw_skeletons

SKELETON = Skeleton(
    ("neck", "left_hand", "right_hand"),
    flip_map=(("left_hand", "right_hand"),),
    edges=(("neck", "left_hand"), ("neck", "right_hand")),
)
DRAWING = SkeletonDrawing.of(SKELETON)
MIDDLE, LEFT, RIGHT = ((blue, green, red) for red, green, blue in SIDE_COLORS)
JOINTS = np.array([[[100, 40, 2], [60, 80, 2], [140, 80, 2]]], dtype=float)


def blank(size=(120, 200), value=128) -> np.ndarray:
    return np.full((*size, 3), value, dtype=np.uint8)


def changed(before, after) -> np.ndarray:
    return (before != after).any(axis=2)


def near(image: np.ndarray, x: float, y: float, color) -> bool:
    pixel = image[round(y), round(x)].astype(int)
    return bool(np.abs(pixel - np.array(color)).max() < 12)


def test_joints_and_limbs_in_the_colours_of_their_sides():
    image = blank()
    picture = draw_skeletons(image, JOINTS, DRAWING, thickness=2)
    for (x, y, _), color in zip(JOINTS[0], (MIDDLE, LEFT, RIGHT), strict=True):
        assert near(picture, x, y, color)
    assert near(picture, 80, 60, LEFT)
    assert near(picture, 120, 60, RIGHT)
    rows, columns = np.nonzero(changed(image, picture))
    assert rows.min() > 30
    assert columns.max() < 150
    assert (image == 128).all()  # a copy


def test_a_limb_between_the_sides_is_of_the_middle():
    assert SkeletonDrawing(edges=((1, 2),), sides=(0, 1, 2)).color(1, 2) == MIDDLE
    assert DRAWING.color(0, 1) == LEFT
    assert SkeletonDrawing().color(5) == MIDDLE


@pytest.mark.parametrize("missing", [0, 1])
def test_joints_that_are_not_there_take_their_limbs_with_them(missing):
    joints = JOINTS.copy()
    joints[0, missing] = 0
    picture = draw_skeletons(blank(), joints, DRAWING, thickness=2)
    assert not changed(blank(), picture)[:30, :30].any()  # nothing at 0, 0
    middle_of_left_limb = picture[60, 80]
    assert (middle_of_left_limb == 128).all()
    assert near(picture, 120, 60, RIGHT) == (missing == 1)


def test_covered_joints_are_rings():
    sure = np.array([[True, False, True]])
    picture = draw_skeletons(blank(), JOINTS, SkeletonDrawing(), sure=sure, thickness=3)
    filled = draw_skeletons(blank(), JOINTS, SkeletonDrawing(), thickness=3)
    assert (picture[80, 60] == 0).all()  # hollow: the dark rim's inside
    assert not (filled[80, 60] == 0).all()
    assert (picture[40, 100] == filled[40, 100]).all()


def test_the_middle_of_a_dot_is_the_pixel():
    """At a whole pixel index the dot is symmetric around that pixel, at a half around an edge."""
    for x in (50.0, 50.5):
        picture = draw_skeletons(blank(value=0), [[[x, 60, 1]]], SkeletonDrawing(), thickness=4)
        weights = picture.astype(float).sum(axis=(0, 2))
        assert (weights * np.arange(len(weights))).sum() / weights.sum() == pytest.approx(
            x, abs=0.1
        )


def test_joints_far_outside_and_not_finite():
    joints = np.array([[[1e9, -1e9, 1], [np.nan, 5, 1], [50, 50, 1]]])
    picture = draw_skeletons(blank(), joints, DRAWING)
    assert not (picture[50, 50] == 128).all()


def test_no_figures():
    assert (draw_skeletons(blank(), np.zeros((0, 3, 3)), DRAWING) == blank()).all()


def predicted(joints, scores) -> Instances:
    count = len(scores)
    return Instances(
        (120, 200),
        pred_boxes=Boxes(torch.tensor([[50.0, 30, 150, 90]] * count)),
        scores=torch.tensor(scores),
        pred_classes=torch.zeros(count, dtype=torch.int64),
        pred_keypoints=torch.as_tensor(joints, dtype=torch.float32),
    )


def test_detections_are_drawn_half_a_pixel_back():
    """`pred_keypoints` count from the edge of the first pixel."""
    found = predicted(JOINTS + np.array([0.5, 0.5, 0]), [0.9])
    picture = draw_detections(blank(), found, drawing=DRAWING)
    assert (draw_detections(blank(), found[[]]) == blank()).all()
    truth = Instances(
        (120, 200),
        gt_boxes=Boxes(torch.tensor([[50.0, 30, 150, 90]])),
        gt_classes=torch.tensor([0]),
        gt_keypoints=Keypoints(torch.tensor(JOINTS)),
    )
    objects = draw_truth(blank(), truth, drawing=DRAWING)
    assert (picture[40:, :] == objects[40:, :]).mean() > 0.999  # captions differ


def test_joints_of_weak_detections_and_of_classes_without_joints_are_not_drawn():
    weak = draw_detections(blank(), predicted(JOINTS, [0.1]), drawing=DRAWING)
    assert (weak == blank()).all()
    joints = JOINTS.copy()
    joints[..., 2] = 0.01
    picture = draw_detections(blank(), predicted(joints, [0.9]), drawing=DRAWING)
    assert changed(blank(), picture)[57:63, 77:83].any()  # the left limb
    joints[..., 2] = 0.0  # how a detection of a class without joints is told
    picture = draw_detections(blank(), predicted(joints, [0.9]), drawing=DRAWING)
    assert not changed(blank(), picture)[57:63, 77:83].any()


def test_both_conventions_are_enlarged_alike():
    truth = Instances(
        (40, 60),
        gt_boxes=Boxes(torch.tensor([[5.0, 5, 50, 35]])),
        gt_classes=torch.tensor([0]),
        gt_keypoints=Keypoints(torch.tensor([[[20.0, 20, 2]]])),
    )
    found = predicted([[[20.5, 20.5, 0.9]]], [0.9])
    large = blank((400, 600))
    dots = [draw_truth(large, enlarged(truth, 10)), draw_detections(large, enlarged(found, 10))]
    places = []
    for part in dots:
        rows, columns = np.nonzero((part == np.array(MIDDLE)).all(axis=2))
        places.append((rows.mean(), columns.mean()))
    assert places[0] == pytest.approx(places[1])
    assert places[0][1] == pytest.approx((20 + 0.5) * 10 - 0.5, abs=0.1)
    assert truth.gt_keypoints.tensor[0, 0].tolist() == [20, 20, 2]  # not changed
    assert found.pred_keypoints[0, 0, 0] == 20.5
