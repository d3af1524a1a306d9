"""Pictures placed in the graph against those that OpenCV places on the host."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from centernet_d2.export.formats import exported, formats
from centernet_d2.export.graph import DetectorGraph, Sizes
from centernet_d2.export.placing import place, resized, zoomed_size
from centernet_d2.modeling.test_time_augmentation import zoom_image
from centernet_d2.structures.padded_images import scale_to_canvas, shown_side

from .small import SAYS, detector, pictures

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


@pytest.mark.parametrize("zoom", [0.5, 0.6, 0.75, 1.25, 1.8, 2.0])
def test_pictures_are_resized_to_the_pixels_of_opencv(zoom):
    for size in [(100, 150), (131, 97), (2, 3), (640, 427), (333, 1021)]:
        image = pictures(1, *size)[0]
        expected = zoom_image(torch.from_numpy(image.transpose(2, 0, 1)), zoom)
        found = resized(torch.from_numpy(image[None]), zoomed_size(size, zoom))
        assert torch.equal(found[0].permute(2, 0, 1), expected), size


class Placed(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        views = [place(images, self.model, zoom).tensor for zoom in self.model.protocol.scales]
        return (torch.stack(views),)


# The last five: with sums of products rounded twice, and divisions by way of reciprocals, OpenVINO
# has a pixel of them that is a grey level off.
SIZES = [(2, 2), (64, 1021), (601, 400), (333, 777), (97, 31), (232, 249), (250, 400)]
SIZES += [(260, 748), (277, 496), (393, 568), (67, 150), (607, 777)]


@pytest.mark.skipif(not EXACT, reason="OpenCV before 5 warps in fixed point")
@pytest.mark.parametrize(
    ("kind", "ending"), [("openvino", "xml"), pytest.param("onnx", "onnx", marks=pytest.mark.slow)]
)
def test_a_runtime_places_pictures_of_any_size_with_the_same_pixels(kind, ending, tmp_path):
    form, path = formats()[kind], tmp_path / f"file.{ending}"
    for package in form.packages:
        pytest.importorskip(package)
    model = detector("linear")
    object.__setattr__(model.protocol, "fixed_size", (224, 288))
    object.__setattr__(model.protocol, "scales", (1.0, 0.6, 1.5))
    arguments = DetectorGraph(model).examples(Sizes())
    told = {**SAYS, "inputs": ["pictures"], "outputs": ["canvas"]}
    form.write(exported(Placed(model), *arguments), path, told)
    run, _ = form.open(path)
    for size in SIZES:
        image = cv2.resize(pictures(1, 480, 640)[0], size[::-1])
        tensor, canvas = torch.from_numpy(image.transpose(2, 0, 1)), (224, 288)
        for zoom, found in zip(
            model.protocol.scales, run({"pictures": image[None]})["canvas"], strict=True
        ):
            gap = np.abs(found - model.inference_images([tensor], canvas, zoom).tensor.numpy())
            assert gap.max() < 0.002, (size, zoom)  # a grey level is 0.014


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
