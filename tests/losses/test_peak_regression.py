"""Regression losses by hand."""

from __future__ import annotations

import pytest
import torch

from centernet_d2.losses.peak_regression import peak_regression_loss

PREDICTION = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
TARGET = torch.tensor([[0.5, 2.0], [0.0, 0.25]])  # differences 0.5, 0, 3, 0.25


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
    loss = peak_regression_loss(PREDICTION, TARGET, kind=kind, normalizer=normalizer)
    assert loss.item() == pytest.approx(value, rel=1e-6)


def test_published_value_of_corner_offsets():
    loss = peak_regression_loss(
        torch.zeros(2, 2),
        torch.tensor([[0.25, 0.75], [0.5, 0.0]]),
        kind="smooth_l1",
        normalizer="objects",
    )
    assert loss.item() == pytest.approx(0.218739, abs=6e-7)


def test_without_objects_it_is_zero_and_in_the_graph():
    maps = torch.randn(2, 2, 4, 4, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    loss = peak_regression_loss(maps[none, :, none, none], torch.zeros(0, 2))
    assert loss.item() == 0
    loss.backward()
    assert maps.grad is not None
    assert not maps.grad.any()


def test_errors_name_the_choice():
    with pytest.raises(ValueError, match="'l1' or 'smooth_l1', got 'l2'"):
        peak_regression_loss(PREDICTION, TARGET, kind="l2")
    with pytest.raises(ValueError, match="'elements', 'objects' or a number"):
        peak_regression_loss(PREDICTION, TARGET, normalizer="images")
    with pytest.raises(ValueError, match="differ in shape"):
        peak_regression_loss(PREDICTION, TARGET[:1])


def test_bfloat16_is_summed_in_float32():
    prediction = torch.full((4096, 1), 1.0, dtype=torch.bfloat16)
    loss = peak_regression_loss(prediction, torch.zeros(4096, 1), normalizer=1.0)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(4096, rel=1e-3)  # a bfloat16 sum would stop at 256
