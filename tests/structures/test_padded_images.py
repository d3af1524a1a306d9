"""The frames of the published protocols, with the numbers that the published code computes."""

from __future__ import annotations

import pytest
import torch

from centernet_d2.structures.padded_images import (
    PaddedImages,
    canvas_size,
    center_on_canvas,
    scale_to_canvas,
)

MEAN, STD = torch.tensor([104.0136, 114.0342, 119.9166]), torch.tensor([73.6028, 69.8908, 70.9151])


def on_canvas(height: int, width: int, divisor: int = 32) -> PaddedImages:
    canvas = canvas_size((height, width), divisor, "strict")
    return center_on_canvas([torch.full((3, height, width), 255)], canvas, MEAN, STD)


@pytest.mark.parametrize(
    ("size", "divisor", "canvas"),
    [
        ((480, 640), 32, (512, 672)),
        ((511, 512), 32, (512, 544)),
        ((333, 501), 32, (352, 512)),
        ((640, 512), 128, (768, 640)),
    ],
)
def test_strict_canvas_is_the_next_larger_multiple(size, divisor, canvas):
    assert canvas_size(size, divisor, "strict") == canvas


@pytest.mark.parametrize(
    ("size", "canvas", "ratio", "shift"),
    [  # published frames of the corner detectors: output side 32 m of 128 m - 1, (top, left)
        ((480, 640), (511, 767), (0.25048924, 0.25032595), (15, 63)),
        ((427, 640), (511, 767), (0.25048924, 0.25032595), (42, 63)),
        ((500, 375), (511, 383), (0.25048924, 0.25065274), (5, 4)),
        ((511, 511), (511, 511), (0.25048924, 0.25048924), (0, 0)),
    ],
)
def test_odd_canvas_of_the_corner_detectors(size, canvas, ratio, shift):
    assert canvas_size(size, 128, "odd") == canvas == (size[0] | 127, size[1] | 127)
    images = center_on_canvas([torch.zeros(3, *size)], canvas, MEAN, STD)
    assert images.shift.tolist() == [[shift[1], shift[0]]]
    map_size = ((canvas[0] + 1) // 4, (canvas[1] + 1) // 4)
    corners = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    on_map = images.image_to_map(corners, torch.tensor([0]), map_size)[0]
    assert (on_map[1] - on_map[0]).tolist() == pytest.approx([ratio[1], ratio[0]], rel=1e-6)
    torch.testing.assert_close(
        images.map_to_image(on_map[None], map_size), corners, atol=1e-4, rtol=0
    )


def test_fitting_canvas_holds_the_image_exactly():
    assert canvas_size((512, 513), 32, "fit") == (512, 544)


def test_an_unknown_canvas_is_named():
    with pytest.raises(ValueError, match=r"canvas must be .*'loose'"):
        canvas_size((1, 1), 32, "loose")


# 640 x 480: shift (16, 16), x = 4u - 16. 501 x 333: shift (6, 10), x = 4u - 6, y = 4v - 10.
@pytest.mark.parametrize(("height", "width", "shift"), [(480, 640, (16, 16)), (333, 501, (6, 10))])
def test_kept_resolution_is_centred_and_converts_exactly(height, width, shift):
    images = on_canvas(height, width)
    assert images.shift.tolist() == [list(map(float, shift))]
    canvas = images.tensor.shape[-2:]
    map_size = (canvas[0] // 4, canvas[1] // 4)
    cells = torch.tensor([[[0.0, 0.0], [7.0, 3.5]]])
    expected = [[-shift[0], -shift[1]], [28 - shift[0], 14 - shift[1]]]
    assert images.map_to_image(cells, map_size).tolist() == [expected]


def test_image_lands_at_its_shift_and_the_border_is_black_before_normalising():
    images = on_canvas(333, 501)
    inside = (255 - MEAN) / STD
    assert torch.allclose(images.tensor[0, :, 10, 6], inside)
    assert torch.allclose(images.tensor[0, :, 10 + 332, 6 + 500], inside)
    black = torch.tensor([-1.41318, -1.63161, -1.69099])  # published -mean / std of COCO
    for y, x in [(9, 6), (10, 5), (343, 6), (10, 507), (0, 0)]:
        assert torch.allclose(images.tensor[0, :, y, x], black, atol=1e-5)


# x' = 0.8x, y' = 0.8y + 64 for 640 x 480 on 512 x 512.
def test_fixed_resolution_scales_by_the_longer_side():
    images = scale_to_canvas([torch.zeros(3, 480, 640)], (512, 512), MEAN, STD)
    points = torch.tensor([[100.0, 50.0]])
    on_map = images.image_to_map(points, torch.tensor([0]), (128, 128))
    assert torch.allclose(on_map * 4, torch.tensor([[80.0, 104.0]]))
    assert images.image_sizes == ((480, 640),)


def test_fixed_resolution_moves_the_pixels_with_the_points():
    image = torch.zeros(3, 60, 80, dtype=torch.uint8)
    image[:, 29:32, 39:42] = 255  # a dot around (x, y) = (40, 30)
    images = scale_to_canvas([image], (160, 160), torch.zeros(3), torch.ones(3))
    weight = images.tensor[0, 0]
    ys, xs = torch.meshgrid(torch.arange(160.0), torch.arange(160.0), indexing="ij")
    found = torch.stack([(xs * weight).sum(), (ys * weight).sum()]) / weight.sum()
    expected = images.image_to_map(torch.tensor([[40.0, 30.0]]), torch.tensor([0]), (160, 160))
    assert torch.allclose(found, expected[0], atol=0.02)
    assert torch.allclose(expected[0], torch.tensor([80.0, 80.0]))


def test_both_ways_are_inverse_for_ragged_batches():
    generator = torch.Generator().manual_seed(0)
    images = [torch.zeros(3, 41, 67), torch.zeros(3, 50, 30)]
    for padded in (
        center_on_canvas(images, (64, 96), MEAN, STD),
        scale_to_canvas(images, (64, 64), MEAN, STD),
    ):
        map_size = (padded.tensor.shape[2] // 4, padded.tensor.shape[3] // 4)
        points = torch.rand(2, 5, 2, generator=generator) * 40
        ragged = points.flatten(0, 1)
        image = torch.arange(2).repeat_interleave(5)
        on_map = padded.image_to_map(ragged, image, map_size).view(2, 5, 2)
        assert torch.allclose(padded.map_to_image(on_map, map_size), points, atol=1e-4)


def test_ratio_comes_from_the_tensors_not_from_a_stride():
    images = PaddedImages(
        torch.zeros(1, 3, 511, 511), ((511, 511),), torch.ones(1), torch.zeros(1, 2)
    )
    corner = images.map_to_image(torch.tensor([[[128.0, 64.0]]]), (128, 128))
    assert torch.allclose(corner, torch.tensor([[[511.0, 255.5]]]))


def test_images_are_not_changed():
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    before = image.clone()
    center_on_canvas([image], (32, 32), MEAN, STD)
    scale_to_canvas([image], (32, 32), MEAN, STD)
    assert torch.equal(image, before)
