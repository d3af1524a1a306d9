from __future__ import annotations

import builtins

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from centernet_d2.inference.adapters import byte_tracker, to_supervision
from centernet_d2.visualization.detections import draw_detections


def some_instances() -> Instances:
    found = Instances((60, 100))
    found.pred_boxes = Boxes(torch.tensor([[10.0, 5, 50, 45], [20, 30, 90, 59]]))
    found.scores, found.pred_classes = torch.tensor([0.875, 0.5]), torch.tensor([1, 7])
    found.pred_keypoints = torch.tensor([[[10.5, 5.5, 0.75]], [[30.5, 20.5, 0.25]]])
    return found


def test_supervision_gets_boxes_joints_and_names():
    sv = pytest.importorskip("supervision")
    boxes = to_supervision(some_instances(), ["disk", "ring"])
    assert isinstance(boxes, sv.Detections)
    assert boxes.xyxy.tolist() == [[10, 5, 50, 45], [20, 30, 90, 59]]
    assert (boxes.confidence.tolist(), boxes.class_id.tolist()) == ([0.875, 0.5], [1, 7])
    assert boxes.data["class_name"].tolist() == ["ring", "class 7"]
    assert len(boxes[boxes.confidence > 0.6]) == 1
    joints = to_supervision(some_instances(), ["disk", "ring"], keypoints=True)
    assert joints.xy.tolist() == [[[10.5, 5.5]], [[30.5, 20.5]]]
    assert joints.keypoint_confidence.tolist() == [[0.75], [0.25]]
    assert joints.data["class_name"].tolist() == ["ring", "class 7"]
    none = some_instances()[:0]
    assert (len(to_supervision(none)), len(to_supervision(none, keypoints=True))) == (0, 0)


@pytest.mark.parametrize(
    ("call", "name"),
    [(lambda: to_supervision(some_instances()), "supervision"),
     (lambda: byte_tracker(0.3, 25.0), "trackers")],
)  # fmt: skip
def test_a_library_that_is_missing_is_named_with_its_cure(monkeypatch, call, name):
    plain = builtins.__import__

    def without(module, *rest):
        if module == name:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return plain(module, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr("centernet_d2.missing.is_missing", lambda module: module == name)
    with pytest.raises(
        ImportError, match=rf"needs {name}, which is missing here: .*install {name}"
    ):
        call()


def test_tracks_are_drawn():
    image, found = np.zeros((200, 300, 3), np.uint8), some_instances()
    found.remove("pred_keypoints")
    plain = draw_detections(image, found)
    found.track_ids = torch.tensor([-1, -1])
    np.testing.assert_array_equal(draw_detections(image, found), plain)
    found.track_ids = torch.tensor([3, -1])
    assert (draw_detections(image, found) != plain).any()
