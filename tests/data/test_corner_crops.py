"""Crops of a fixed number of pixels, against the published corner code's paste and resize."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from fvcore.transforms.transform import NoOpTransform

from centernet_d2.data.transforms import PixelFlipTransform, RandomCenterCrop

from .dot_images import dot_center, dot_image


def sides_of(crop: RandomCenterCrop, size: tuple[int, int]) -> list[float]:
    """The different sides, in pixels of an image of this size, that 300 crops have."""
    np.random.seed(0)
    image = np.zeros((*size, 3), dtype=np.uint8)
    transforms = [crop.get_transform(image) for _ in range(300)]
    return sorted({round(crop.output_size[1] / transform.scale, 6) for transform in transforms})


@pytest.mark.parametrize("size", [(427, 640), (90, 60), (1500, 2000)])
def test_sides_of_the_published_corner_crops(size):
    """The published 1.0 is numpy's 0.9999999999999999, so its side is 510."""
    crop = RandomCenterCrop((511, 511), scales=np.arange(0.6, 1.4, 0.1), base="output")
    assert sides_of(crop, size) == [306, 357, 408, 459, 510, 562, 613, 664]
    assert sides_of(RandomCenterCrop((511, 511), base="output"), size)[4] == 511


def test_the_base_of_outputs_that_are_not_square_is_their_width():
    crop = RandomCenterCrop((96, 128), scales=(0.75, 1.5), base="output")
    assert sides_of(crop, (300, 200)) == [96, 192]
    assert sides_of(RandomCenterCrop((96, 128), scales=(0.75, 1.5)), (300, 200)) == [300, 600]


def published_corner_crop(image, box, center, side, output):
    """Integer paste around the canvas's middle, then a resize; boxes are shifted and scaled."""
    canvas = np.zeros((side, side, 3), dtype=np.uint8)
    half, (x, y) = side // 2, center
    left, top = max(x - half, 0), max(y - half, 0)
    piece = image[top : min(y + half, len(image)), left : min(x + half, image.shape[1])]
    at_y, at_x = half - (y - top), half - (x - left)
    canvas[at_y : at_y + piece.shape[0], at_x : at_x + piece.shape[1]] = piece
    moved = (np.asarray(box) + half - np.array([x, y, x, y])) * output / side
    return cv2.resize(canvas, (output, output)), moved


@pytest.mark.parametrize("flipped", [False, True])
def test_shows_what_the_published_corner_crop_shows(flipped):
    """Boxes in the same place, but for half a pixel of odd sides and one of flipped images."""
    height, width, output, dot = 150, 201, 127, (90, 70)
    image, box = dot_image(height, width, *dot), np.array([[70.0, 50.0, 110.0, 90.0]])
    augmentation = RandomCenterCrop((output, output), base="output")
    flip = PixelFlipTransform(width) if flipped else NoOpTransform()
    np.random.seed(4)
    compared = 0
    for _ in range(60):
        transform = augmentation.get_transform(image)
        center = transform.inverse().apply_coords(np.array([[output / 2, output / 2]]))[0].round()
        side = round(output / transform.scale)
        if flipped:  # the same place of the image
            center[0] = width - 1 - center[0]
        picture, published = published_corner_crop(image, box[0], center.astype(int), side, output)
        if flipped:
            picture = picture[:, ::-1]
            published = PixelFlipTransform(output).apply_box(published[None])[0]
        ours = transform.apply_box(flip.apply_box(box))[0]
        moved = ours - published
        half = side % 2 / 2 * transform.scale  # of an odd side, whose middle is not a pixel
        expected = [1 - half, half] * 2 if flipped else [half, half] * 2
        np.testing.assert_allclose(moved, expected, atol=1e-9)
        points = transform.apply_coords(flip.apply_coords(np.array([dot], dtype=float)))[0]
        if (points < 8).any() or (points > output - 9).any():
            continue
        compared += 1
        seen = dot_center(transform.apply_image(flip.apply_image(image)))
        np.testing.assert_allclose(seen, points, atol=0.25)
        beside = dot_center(picture) - (points - moved[:2])
        assert np.abs(beside).max() < 0.34 + 0.25  # a third of a pixel, and the sampling
    assert compared >= 10


def test_the_inverse_of_a_crop_of_fixed_side_is_exact():
    np.random.seed(6)
    points = np.array([[0.0, 0.0], [639.0, 426.0], [100.3, 50.7]])
    for _ in range(20):
        crop = RandomCenterCrop((511, 511), base="output")
        transform = crop.get_transform(np.zeros((427, 640, 3), dtype=np.uint8))
        back = transform.inverse().apply_coords(transform.apply_coords(points))
        np.testing.assert_allclose(back, points, atol=1e-9)
