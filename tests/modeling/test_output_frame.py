"""Detections to the output frame: every image-plane field scales, nothing given is changed."""

from __future__ import annotations

import pytest
import torch
from detectron2.structures import Boxes, Instances

import centernet_d2.modeling.point_tasks.pose  # noqa: F401 (registers pred_keypoints)
from centernet_d2.modeling.output_frame import to_output_frame


@pytest.fixture
def found() -> Instances:
    return Instances(
        (100, 200),
        pred_boxes=Boxes(
            torch.tensor([[10.0, 20, 50, 60], [-20, -20, -5, -5], [150, 50, 260, 90]])
        ),
        scores=torch.tensor([0.9, 0.8, 0.7]),
        pred_classes=torch.tensor([0, 1, 2]),
        pred_keypoints=torch.tensor([[[10.0, 20, 0.5]]] * 3),
        pred_depth=torch.tensor([1.0, 2.0, 3.0]),
    )


def test_published_default_scales_and_keeps_everything(found):
    out = to_output_frame(found, 200, 100)
    assert out.image_size == (200, 100)
    assert out.pred_boxes.tensor.tolist()[:2] == [[5, 40, 25, 120], [-10, -40, -2.5, -10]]
    assert out.pred_keypoints[0, 0].tolist() == [5, 40, 0.5]
    assert torch.equal(out.pred_depth, found.pred_depth)
    assert len(out) == 3


@pytest.mark.parametrize(
    ("clip", "drop", "boxes"),
    [
        (True, False, [[10, 20, 50, 60], [0, 0, 0, 0], [150, 50, 200, 90]]),
        (False, True, [[10, 20, 50, 60], [150, 50, 260, 90]]),
        (True, True, [[10, 20, 50, 60], [150, 50, 200, 90]]),
    ],
)
def test_clipping_and_dropping_are_choices(found, clip, drop, boxes):
    out = to_output_frame(found, 100, 200, clip_boxes=clip, drop_empty=drop)
    assert out.pred_boxes.tensor.tolist() == boxes
    assert len(out.scores) == len(boxes)


def test_argument_is_not_changed(found):
    boxes, keypoints = found.pred_boxes.tensor.clone(), found.pred_keypoints.clone()
    to_output_frame(found, 50, 50, clip_boxes=True, drop_empty=True)
    assert torch.equal(found.pred_boxes.tensor, boxes)
    assert torch.equal(found.pred_keypoints, keypoints)
