"""Regression losses by hand."""

from __future__ import annotations

import pytest
import torch

from centernet_d2.losses.peak_regression import RegressionLoss

PREDICTION = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
TARGET = torch.tensor([[0.5, 2.0], [0.0, 0.25]])  # differences 0.5, 0, 3, 0.25
MAX_OBJECTS = RegressionLoss(normalizer="max_objects")


@pytest.mark.parametrize(
    ("kind", "normalizer", "value"),
    [
        ("l1", "elements", 3.75 / (4 + 1e-4)),
        ("l1", "objects", 3.75 / (2 + 1e-4)),
        ("l1", 10.0, 3.75 / (10 + 1e-4)),
        # 0.5 * 0.25 + 0 + 2.5 + 0.5 * 0.0625
        ("smooth_l1", "objects", 2.65625 / (2 + 1e-4)),
    ],
)
def test_by_hand(kind, normalizer, value):
    loss = RegressionLoss(kind, normalizer)(PREDICTION, TARGET)
    assert loss.item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("num_images", [1, 3])
def test_max_objects_is_the_published_mean_over_50_objects_per_image(num_images):
    """Each image's objects in the first of 50 rows, the rest 0 on both sides, and a plain mean."""
    padded = torch.zeros(2, num_images * 50, 2)
    padded[0, :2], padded[1, :2] = PREDICTION, TARGET
    expected = (padded[0] - padded[1]).abs().mean().item()
    assert expected == pytest.approx(3.75 / (100 * num_images))
    loss = MAX_OBJECTS(PREDICTION, TARGET, num_images=num_images)
    assert loss.item() == pytest.approx(expected, rel=2e-6)  # but for the epsilon of 1e-4 / 100


def test_max_objects_divides_by_channels_too():
    one = MAX_OBJECTS(PREDICTION[:, :1], TARGET[:, :1], num_images=1)
    assert one.item() == pytest.approx(3.5 / 50, rel=1e-5)
    smooth = RegressionLoss("smooth_l1", "max_objects")(PREDICTION, TARGET, num_images=1)
    assert smooth.item() == pytest.approx(2.65625 / 100, rel=1e-5)


def test_published_value_of_corner_offsets():
    target = torch.tensor([[0.25, 0.75], [0.5, 0.0]])
    loss = RegressionLoss("smooth_l1", "objects")(torch.zeros(2, 2), target)
    assert loss.item() == pytest.approx(0.218739, abs=6e-7)


@pytest.mark.parametrize("normalizer", ["elements", "max_objects"])
def test_without_objects_it_is_zero_and_in_the_graph(normalizer):
    maps = torch.randn(2, 2, 4, 4, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    loss = RegressionLoss("l1", normalizer)(
        maps[none, :, none, none], torch.zeros(0, 2), num_images=2
    )
    assert loss.item() == 0
    loss.backward()
    assert maps.grad is not None
    assert not maps.grad.any()


def test_errors_name_the_choice():
    with pytest.raises(ValueError, match="'l1', 'smooth_l1', got 'l2'"):
        RegressionLoss("l2")
    with pytest.raises(ValueError, match="'elements', 'objects', 'max_objects', got 'images'"):
        RegressionLoss(normalizer="images")
    with pytest.raises(ValueError, match="'max_objects' needs num_images"):
        MAX_OBJECTS(PREDICTION, TARGET)
    with pytest.raises(ValueError, match="differ in shape"):
        RegressionLoss()(PREDICTION, TARGET[:1])


def test_bfloat16_is_summed_in_float32():
    prediction = torch.full((4096, 1), 1.0, dtype=torch.bfloat16)
    loss = RegressionLoss(normalizer=1.0)(prediction, torch.zeros(4096, 1))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(4096, rel=1e-3)  # a bfloat16 sum would stop at 256
