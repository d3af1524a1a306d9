"""Colour jitter and PCA lighting against formulas written out once more in 0..1."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from fvcore.transforms.transform import NoOpTransform

from centernet_d2.data.color import (
    COLOR_EIGENVALUES,
    COLOR_EIGENVECTORS,
    COLOR_STEPS,
    ColorTransform,
    RandomColor,
    lighting_shift,
)

IMAGE = np.random.RandomState(3).randint(0, 256, (130, 17, 3)).astype(np.uint8)


def expected(image: np.ndarray, steps) -> np.ndarray:
    """The published recipe on an image in 0..1: gray and its mean come from the untouched image."""
    image = image / 255.0
    gray = image @ np.array([0.114, 0.587, 0.299])
    for name, factor in steps:
        if name == "brightness":
            image = factor * image
        elif name == "contrast":
            image = factor * image + (1 - factor) * gray.mean()
        else:
            image = factor * image + (1 - factor) * gray[:, :, None]
    return image * 255


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
@pytest.mark.parametrize("order", list(itertools.permutations(COLOR_STEPS)))
def test_steps_in_every_order(order, dtype):
    steps = list(zip(order, (0.7, 1.3, 1.15), strict=True))
    result = ColorTransform(steps, (1, -2, 3)).apply_image(IMAGE.astype(dtype))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected(IMAGE, steps) + np.array([1, -2, 3]), atol=2e-4)


def test_nothing_is_clipped_and_the_input_is_left_alone():
    image = np.full((4, 4, 3), 250, dtype=np.uint8)
    result = ColorTransform([("brightness", 1.4)], shift=(0, 5, -400)).apply_image(image)
    np.testing.assert_allclose(result[0, 0], [350, 355, -50], atol=1e-3)
    assert (image == 250).all()


def test_lighting_shift_by_hand():
    # A draw of 0.1 on axis 1: 255 * 0.1 * 0.2141788 * (-.58752847, -.5832747, -.56089297)
    np.testing.assert_allclose(
        lighting_shift(np.array([0.1, 0, 0])), [-3.208822, -3.185589, -3.063350], atol=1e-5
    )
    np.testing.assert_allclose(lighting_shift(np.zeros(3)), 0)


def test_principal_axes_are_orthonormal():
    vectors = np.array(COLOR_EIGENVECTORS)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-5)
    assert list(COLOR_EIGENVALUES) == sorted(COLOR_EIGENVALUES, reverse=True)


def test_draws_have_the_stated_ranges():
    np.random.seed(0)
    transforms = [RandomColor(0.4, 0.1).get_transform(IMAGE) for _ in range(300)]
    factors = np.array([[factor for _, factor in t.steps] for t in transforms])
    assert factors.min() >= 0.6
    assert factors.max() <= 1.4
    assert np.ptp(factors) > 0.7
    assert {tuple(name for name, _ in t.steps) for t in transforms} == set(
        itertools.permutations(COLOR_STEPS)
    )
    shifts = np.array([t.shift for t in transforms])
    axes = shifts @ np.array(COLOR_EIGENVECTORS) / 255 / np.array(COLOR_EIGENVALUES)
    np.testing.assert_allclose(axes.std(axis=0), 0.1, atol=0.02)


def test_off_means_off():
    transform = RandomColor(0.0, 0.0).get_transform(IMAGE)
    np.testing.assert_array_equal(transform.apply_image(IMAGE), IMAGE.astype(np.float32))


def test_coordinates_and_labels_stay():
    transform = RandomColor().get_transform(IMAGE)
    points = np.array([[1.0, 2.0]])
    np.testing.assert_array_equal(transform.apply_coords(points), points)
    labels = np.ones((3, 3), dtype=np.uint8)
    np.testing.assert_array_equal(transform.apply_segmentation(labels), labels)
    assert isinstance(transform.inverse(), NoOpTransform)


def test_equal_seeds_give_equal_colours():
    def run(seed):
        np.random.seed(seed)
        return RandomColor().get_transform(IMAGE).apply_image(IMAGE)

    np.testing.assert_array_equal(run(4), run(4))
    assert (run(4) != run(5)).any()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomColor(jitter=1.2), "jitter must"),
        (lambda: RandomColor(lighting=-0.1), "lighting must"),
        (lambda: ColorTransform([("hue", 1.0)]), "hue"),
    ],
)
def test_impossible_arguments_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
