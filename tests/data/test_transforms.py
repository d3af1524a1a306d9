"""Geometry of the input: hand values, painted dots found again, exact inverses."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from detectron2.data.transforms import AugInput, AugmentationList
from fvcore.transforms.transform import HFlipTransform, NoOpTransform
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet_d2.data.transforms import (
    CenterAffineTransform,
    PixelFlipTransform,
    RandomCenterCrop,
    RandomFlip,
    crop_border,
    fitting_side,
)

from .dot_images import dot_center, dot_image


def test_fixed_resolution_hand_values():
    # 640 x 480 into 512 x 512 as published: x' = 0.8 x, y' = 0.8 y + 64.
    image = np.full((480, 640, 3), 200, dtype=np.uint8)
    transform = RandomCenterCrop((512, 512), mode="none").get_transform(image)
    assert transform.scale == pytest.approx(0.8)
    assert transform.shift == pytest.approx((0.0, 64.0))
    points = transform.apply_coords(np.array([[0.0, 0.0], [640.0, 480.0], [100.0, 10.0]]))
    np.testing.assert_allclose(points, [[0, 64], [512, 448], [80, 72]], atol=1e-9)
    warped = transform.apply_image(image)
    assert warped.shape == (512, 512, 3)
    assert warped.dtype == np.uint8
    assert (warped[:63] == 0).all()
    assert (warped[449:] == 0).all()
    assert (warped[65:447, 1:510] == 200).all()


@pytest.mark.parametrize(
    ("size", "border"),
    [
        (1000, 128),
        (257, 128),
        (256, 64),
        (129, 64),
        (128, 32),
        (65, 32),
        (64, 16),
        (33, 16),
        (2, 0),
        (1, 0),
    ],
)
def test_crop_border(size, border):
    assert crop_border(size) == border


def test_agrees_with_the_three_point_construction():
    # The published code builds its matrix from three point pairs; ours is the closed form.
    center, side, (height, width) = np.array([211.0, 150.0]), 391.3, (384, 512)
    steps = np.array([[0, 0], [0, -0.5], [-0.5, -0.5]])
    source = np.float32(center + side * steps)
    target = np.float32(np.array([width / 2, height / 2]) + width * steps)
    expected = cv2.getAffineTransform(source, target)
    transform = CenterAffineTransform.from_center(tuple(center), side, (300, 400), (height, width))
    np.testing.assert_allclose(np.diag(expected[:, :2]), transform.scale, rtol=1e-6)
    np.testing.assert_allclose(expected[:, 2], transform.shift, rtol=1e-5)


@settings(max_examples=100, deadline=None)
@given(
    center=st.tuples(st.floats(-100, 900), st.floats(-100, 900)),
    side=st.floats(5, 3000),
    output=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    point=st.tuples(st.floats(-2000, 2000), st.floats(-2000, 2000)),
)
def test_inverse_round_trip(center, side, output, point):
    transform = CenterAffineTransform.from_center(center, side, (480, 640), output)
    there = transform.apply_coords(np.array([point]))
    np.testing.assert_allclose(transform.inverse().apply_coords(there), [point], atol=1e-4)
    twice = transform.inverse().inverse()
    assert twice.output_size == transform.output_size
    np.testing.assert_allclose(twice.apply_coords(np.array([point])), there, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [{"mode": "random_crop"}, {"base": "output"}, {"mode": "shift_scale"}, {"mode": "none"}],
    ids=str,
)
@pytest.mark.parametrize("size", [(301, 200), (96, 333)])
def test_a_painted_dot_is_found_where_its_point_goes(options, size):
    np.random.seed(5)
    dot = (size[1] // 2, size[0] // 2)
    found = 0
    for _ in range(40):
        image = dot_image(*size, *dot)
        transform = RandomCenterCrop((160, 192), **options).get_transform(image)
        expected = transform.apply_coords(np.array([dot], dtype=float))[0]
        if (expected < 8).any() or (expected > np.array([192, 160]) - 9).any():
            continue
        found += 1
        # Bilinear sampling of a smooth dot moves its centre of mass by less than a tenth.
        np.testing.assert_allclose(dot_center(transform.apply_image(image)), expected, atol=0.25)
    assert found >= 10


def test_the_warp_of_the_inverse_brings_the_picture_back():
    image = cv2.GaussianBlur(
        np.random.RandomState(0).randint(0, 255, (90, 120, 3)).astype(np.uint8), (0, 0), 4
    )
    transform = CenterAffineTransform(2.0, (7.0, 11.0), (90, 120), (220, 260))
    back = transform.inverse().apply_image(transform.apply_image(image))
    assert back.shape == image.shape
    assert np.abs(back.astype(int) - image).max() <= 2


def test_segmentation_keeps_its_labels_and_boolean_its_type():
    labels = np.zeros((60, 80), dtype=np.uint8)
    labels[20:40, 30:50] = 7
    transform = CenterAffineTransform.from_center((40, 30), 55.0, (60, 80), (64, 64))
    warped = transform.apply_segmentation(labels)
    assert set(np.unique(warped)) == {0, 7}
    assert transform.apply_segmentation(labels > 0).dtype == bool


def test_a_transform_refuses_an_image_of_another_size():
    transform = CenterAffineTransform(1.0, (0.0, 0.0), (60, 80), (64, 64))
    with pytest.raises(ValueError, match=r"\(60, 80\), got \(80, 60\)"):
        transform.apply_image(np.zeros((80, 60, 3), dtype=np.uint8))


@pytest.mark.parametrize(("convention", "offset"), [("pixel", 0.0), ("edge", 0.5)])
def test_flip_finds_a_painted_dot(convention, offset):
    image = dot_image(40, 61, x=9, y=20)
    transform = RandomFlip(1.0, convention).get_transform(image)
    expected = transform.apply_coords(np.array([[9.0 + offset, 20.0 + offset]]))[0] - offset
    np.testing.assert_allclose(dot_center(transform.apply_image(image)), expected, atol=1e-9)
    assert expected[0] == 61 - 1 - 9


def test_flip_conventions_by_hand():
    image = np.zeros((4, 10, 3), dtype=np.uint8)
    box = np.array([[1.0, 0.0, 4.0, 2.0]])
    pixel = RandomFlip(1.0, "pixel").get_transform(image)
    edge = RandomFlip(1.0, "edge").get_transform(image)
    np.testing.assert_array_equal(pixel.apply_box(box), [[5, 0, 8, 2]])
    np.testing.assert_array_equal(edge.apply_box(box), [[6, 0, 9, 2]])
    assert type(edge) is HFlipTransform
    assert isinstance(pixel, HFlipTransform)  # detectron2 counts flips by this class
    np.testing.assert_array_equal(pixel.inverse().apply_box(pixel.apply_box(box)), box)
    np.testing.assert_array_equal(box, [[1, 0, 4, 2]])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, bool, np.int64])
@pytest.mark.parametrize("shape", [(4, 10, 3), (4, 10), (4, 10, 1)])
def test_a_flip_of_any_array_is_numpys(dtype, shape):
    image = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    flipped = RandomFlip(1.0, "pixel").get_transform(image).apply_image(image)
    np.testing.assert_array_equal(flipped, image[:, ::-1], strict=True)


def test_flip_probability():
    image = np.zeros((4, 10, 3), dtype=np.uint8)
    np.random.seed(0)
    flips = [RandomFlip(0.3).get_transform(image) for _ in range(400)]
    share = np.mean([isinstance(flip, PixelFlipTransform) for flip in flips])
    assert 0.22 < share < 0.38
    assert all(isinstance(flip, (PixelFlipTransform, NoOpTransform)) for flip in flips)


def test_random_crop_draws_every_scale_and_keeps_the_border():
    image = np.zeros((300, 500, 3), dtype=np.uint8)
    np.random.seed(1)
    crop = RandomCenterCrop((256, 256), scales=(0.6, 1.0, 1.3), border=128)
    transforms = [crop.get_transform(image) for _ in range(300)]
    sides = sorted({round(256 / transform.scale / 500, 6) for transform in transforms})
    assert sides == [0.6, 1.0, 1.3]
    centers = np.array(
        [t.inverse().apply_coords(np.array([[128.0, 128.0]]))[0] for t in transforms]
    )
    np.testing.assert_allclose(centers, np.round(centers), atol=1e-6)
    centers = np.round(centers)
    assert centers[:, 0].min() >= 128
    assert centers[:, 0].max() < 500 - 128
    assert centers[:, 1].min() >= 128
    assert centers[:, 1].max() < 300 - 128
    assert np.ptp(centers[:, 0]) > 200


def test_shift_scale_stays_in_its_clips():
    image = np.zeros((200, 100, 3), dtype=np.uint8)
    np.random.seed(2)
    crop = RandomCenterCrop((64, 64), mode="shift_scale", shift=0.1, scale=0.4)
    transforms = [crop.get_transform(image) for _ in range(300)]
    sides = np.array([64 / t.scale for t in transforms]) / 200
    assert sides.min() >= 0.6 - 1e-9
    assert sides.max() <= 1.4 + 1e-9
    assert sides.std() > 0.2
    centers = np.array([t.inverse().apply_coords(np.array([[32.0, 32.0]]))[0] for t in transforms])
    assert np.abs(centers - [50, 100]).max() <= 0.2 * 200 + 1e-6


def test_fitting_side():
    assert fitting_side((480, 640), (512, 512)) == 640
    assert fitting_side((640, 480), (512, 512)) == 640
    assert fitting_side((100, 100), (384, 1280)) == pytest.approx(100 * 1280 / 384)


def test_equal_seeds_give_equal_crops():
    image = np.random.RandomState(0).randint(0, 255, (120, 150, 3)).astype(np.uint8)

    def run(seed):
        np.random.seed(seed)
        sample = AugInput(image.copy())
        AugmentationList([RandomFlip(), RandomCenterCrop((96, 96))])(sample)
        return sample.image

    np.testing.assert_array_equal(run(7), run(7))
    assert any((run(7) != run(seed)).any() for seed in range(8, 12))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomCenterCrop((64, 64), mode="center"), "mode must"),
        (lambda: RandomCenterCrop((0, 64)), "output_size must"),
        (lambda: RandomCenterCrop((64, 64), scales=()), "scales must"),
        (lambda: RandomCenterCrop((64, 64), base="crop"), "base must"),
        (lambda: RandomCenterCrop((64, 64), scales=(0.01, 1), base="output"), "leave a pixel"),
        (lambda: RandomCenterCrop((64, 64), mode="shift_scale", scale=1.5), "scale must"),
        (lambda: RandomFlip(1.5), "probability must"),
        (lambda: RandomFlip(0.5, "middle"), "convention must"),
        (lambda: fitting_side((0, 5), (64, 64)), "no pixels"),
    ],
)
def test_impossible_arguments_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
