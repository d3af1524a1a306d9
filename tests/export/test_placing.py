"""Pictures placed in the graph against those that OpenCV places on the host."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from centernet_d2.export.placing import place
from centernet_d2.structures.padded_images import scale_to_canvas, shown_side

from .small import detector, pictures

EXACT = int(cv2.__version__.split(".")[0]) >= 5  # older ones warp in fixed point


@pytest.mark.parametrize("fit", ["whole", "width", "none"])
@pytest.mark.parametrize("size", [(100, 150), (436, 470), (97, 31), (390, 453), (45, 176)])
def test_the_pixels_of_a_fixed_canvas_are_those_of_opencv(size, fit):
    model, images = detector("linear"), pictures(1, *size)
    object.__setattr__(model.protocol, "fixed_fit", fit)
    placed = place(torch.from_numpy(images), model)
    canvas, picture = (96, 128), torch.from_numpy(images[0].transpose(2, 0, 1))
    mean, std = model.pixel_mean, model.pixel_std
    expected = scale_to_canvas(
        [picture], canvas, mean, std, shown_sides=[shown_side(size, canvas, fit)]
    )
    grey_levels = ((placed.tensor - expected.tensor) * std.view(1, 3, 1, 1)).abs()
    assert grey_levels.max() <= (0.01 if EXACT else 4)
    assert torch.allclose(placed.scale, expected.scale, rtol=1e-6)
    assert torch.allclose(placed.shift, expected.shift, atol=1e-4)


@pytest.mark.parametrize("rule", ["strict", "fit", "odd"])
@pytest.mark.parametrize("size", [(100, 150), (96, 64), (33, 129)])
def test_a_canvas_that_follows_the_picture_is_that_of_the_detector(rule, size):
    model, images = detector("boxes"), pictures(1, *size)
    object.__setattr__(model.protocol, "canvas", rule)
    picture = torch.from_numpy(images[0].transpose(2, 0, 1))
    expected = model.inference_images([picture], model.protocol.canvas_of(size, model.divisor))
    placed = place(torch.from_numpy(images), model)
    assert placed.flipped
    assert torch.equal(placed.tensor, expected.tensor)
    assert torch.equal(placed.shift, expected.shift)
    assert np.array_equal(placed.scale, [1])
