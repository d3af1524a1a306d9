"""INPUT.CENTER_CROP.ROTATION: a turn in the same warp as the crop, for all that moves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from centernet_d2.data.transforms import CenterAffineTransform, RandomCenterCrop


def test_a_quarter_turn_by_hand():
    """Counter-clockwise as seen: what is right of the centre goes above it."""
    turn = CenterAffineTransform.from_center((50, 50), 100, (100, 100), (100, 100), 90.0)
    np.testing.assert_allclose(
        turn.apply_coords([[60, 50], [50, 60], [50, 50]]), [[50, 40], [60, 50], [50, 50]], atol=1e-9
    )


def test_half_the_size_and_a_turn():
    turn = CenterAffineTransform.from_center((10, 20), 200, (80, 90), (60, 100), 90.0)
    np.testing.assert_allclose(turn.apply_coords([[30, 20]]), [[50, 20]], atol=1e-9)


def test_pixels_and_points_turn_together():
    image = np.zeros((100, 120), dtype=np.uint8)
    cv2.circle(image, (80, 30), 5, 255, cv2.FILLED)
    turn = CenterAffineTransform.from_center((60, 50), 130, (100, 120), (96, 128), 33.0)
    turned = turn.apply_image(image).astype(float)
    rows, columns = np.mgrid[:96, :128]
    middle = [(turned * columns).sum() / turned.sum(), (turned * rows).sum() / turned.sum()]
    np.testing.assert_allclose(turn.apply_coords([[80, 30]])[0], middle, atol=0.1)


def test_inverse_round_trip():
    turn = CenterAffineTransform.from_center((33, 44), 77, (100, 120), (96, 128), -17.0)
    points = np.random.RandomState(0).uniform(-50, 200, size=(20, 2))
    back = turn.inverse().apply_coords(turn.apply_coords(points))
    np.testing.assert_allclose(back, points, atol=1e-9)
    assert turn.inverse().output_size == (100, 120)


def test_boxes_become_the_upright_box_around_the_turned_one():
    turn = CenterAffineTransform.from_center((0, 0), 100, (100, 100), (100, 100), 45.0)
    (box,) = turn.apply_box(np.array([[-10, -10, 10, 10]]))
    reach = 10 * np.sqrt(2)
    np.testing.assert_allclose(box, [50 - reach, 50 - reach, 50 + reach, 50 + reach])


def test_angles_are_gaussian_and_clipped():
    crop = RandomCenterCrop((64, 64), mode="none", rotation=10.0)
    np.random.seed(0)
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    angles = np.array([crop.get_transform(image).angle for _ in range(600)])
    assert angles.std() == pytest.approx(10, rel=0.1)
    assert np.abs(angles).max() == 20
    assert abs(angles.mean()) < 1.5


def test_share_of_turned_samples():
    crop = RandomCenterCrop((64, 64), mode="none", rotation=10.0, rotation_probability=0.25)
    np.random.seed(0)
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    angles = np.array([crop.get_transform(image).angle for _ in range(600)])
    assert np.mean(angles != 0) == pytest.approx(0.25, abs=0.05)


def test_no_rotation_draws_nothing():
    """Samples of recipes without it stay what they were."""
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    np.random.seed(0)
    RandomCenterCrop((64, 64)).get_transform(image)
    after = np.random.uniform()
    np.random.seed(0)
    RandomCenterCrop((64, 64), rotation_probability=0.5).get_transform(image)
    assert np.random.uniform() == after


@pytest.mark.parametrize("options", [{"rotation": -1.0}, {"rotation_probability": 1.5}])
def test_wrong_values_are_named(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must"):
        RandomCenterCrop((64, 64), **options)
