"""The graph against the detector that it is made of, and what no graph is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from centernet_d2.export.graph import DetectorGraph
from centernet_d2.export.parity import Differences
from centernet_d2.export.write import arrays_of, rows_found
from centernet_d2.structures.padded_images import numbers

from .small import DETECTORS, detect, detector, pictures

PROJECTION = np.array([[200, 0, 75, 9], [0, 210, 50, 1], [0, 0, 1, 0.1]], np.float32)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_batch_gives_what_the_detector_gives(name):
    model, images = detector(name), pictures()
    graph = DetectorGraph(model, unrolled=True)
    cameras = [torch.from_numpy(PROJECTION).expand(2, 3, 4)] * graph.has_cameras
    with torch.no_grad():
        found = graph(torch.from_numpy(images), *cameras)
    outputs = {key: rows.numpy() for key, rows in zip(graph.outputs, found, strict=True)}
    expected = detect(model, images, PROJECTION if graph.has_cameras else None)
    report = Differences()
    for row, instances in enumerate(expected):
        arrays = arrays_of(instances)
        assert sorted([*arrays, "count"]) == sorted(graph.outputs)
        assert len(instances) == outputs["count"][row] > 3
        report.add(arrays, rows_found(outputs, row), str(row))
        assert not outputs["scores"][row, len(instances) :].any()
    assert report.fault() == ""
    assert report.worst["scores"] < 1e-6


def test_a_scale_that_is_no_simple_ratio_and_the_published_loop_are_refused():
    model = detector("boxes")
    object.__setattr__(model.protocol, "scales", (1.0, 0.123456))
    with pytest.raises(ValueError, match=r"has 0\.123456, which is no simple ratio"):
        DetectorGraph(model)
    model = detector("corners")
    object.__setattr__(model.protocol.soft_nms, "mode", "reference")
    with pytest.raises(ValueError, match="stale copies"):
        DetectorGraph(model)(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))


def test_numbers_are_of_the_tensor_beside_them():
    found = numbers(torch.zeros(1, dtype=torch.float64), 1, 2.5)
    assert found.dtype == torch.float64
    assert found.tolist() == [1, 2.5]
