"""A Predictor in the place of the runtime's Detector."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from centernet_d2 import Predictor
from centernet_d2.inference.as_runtime import PredictorDetector, to_detections
from centernet_d2.structures.boxes3d import Boxes3D


def test_fields_are_arrays_and_the_best_comes_first():
    found = Instances((20, 30))
    found.scores, found.pred_classes = torch.tensor([0.2, 0.7]), torch.tensor([1, 0])
    found.pred_boxes = Boxes(torch.tensor([[0.0, 1, 2, 3], [4, 5, 6, 7]]))
    found.pred_boxes3d = Boxes3D(torch.arange(16.0).view(2, 8))
    found.corner_scores = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    arrays = to_detections(found, ["cat", "dog"])
    assert arrays.labels() == ["cat", "dog"]
    assert arrays.boxes.tolist() == [[4, 5, 6, 7], [0, 1, 2, 3]]
    assert arrays.boxes3d[0].tolist() == [*range(8, 16)]
    assert arrays.keypoints is arrays.centers is None
    last = {"box": [0, 1, 2, 3], "box3d": [*range(8)], "corner_scores": [0.1, 0.2]}
    assert arrays.rows()[1] == {"class_name": "dog", "score": 0.2} | last


def test_it_detects_as_the_predictor():
    predictor = Predictor("bccd")
    detector, random = PredictorDetector(predictor), np.random.default_rng(0)
    pictures = [random.integers(0, 255, (size, 90, 3), "uint8") for size in (60, 80)]
    for picture, found in zip(pictures, detector.batch(pictures), strict=True):
        expected = predictor(picture)["instances"]
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
        np.testing.assert_allclose(found.boxes, expected.pred_boxes.tensor, atol=1e-3)
    assert detector.metadata["class_names"] == ["Platelets", "RBC", "WBC"]
    assert detector.metadata["protocol"] == predictor.model.describe_protocol()
    with pytest.raises(ValueError, match="it takes no projection"):
        detector.batch(pictures[:1], [np.eye(3, 4)])
