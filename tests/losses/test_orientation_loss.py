"""The orientation loss against the published one: rows padded to 50 slots per image, in a loop."""

from __future__ import annotations

import math

import pytest
import torch

from centernet_d2.losses.orientation import orientation_loss
from centernet_d2.targets.orientation import orientation_bins

SLOTS = 50


def random_rows(count: int, seed: int = 0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    prediction = 2 * torch.randn(count, 8, generator=generator, dtype=dtype)
    alpha = (2 * torch.rand(count, generator=generator, dtype=dtype) - 1) * math.pi
    return prediction, *orientation_bins(alpha)


def smooth(difference: float) -> float:
    size = abs(difference)
    return 0.5 * size**2 if size < 1 else size - 0.5


def cross_entropy(logits: list[float], label: int) -> float:
    return math.log(sum(math.exp(value) for value in logits)) - logits[label]


def published_loss(prediction, bins, residual, slots: int, distance=smooth) -> float:
    """Slot by slot; an empty one has its logits multiplied by 0 and the label 0."""
    total = 0.0
    for which in range(2):
        classified, residuals, members = 0.0, 0.0, 0
        for slot in range(slots):
            if slot >= len(prediction):
                classified += cross_entropy([0.0, 0.0], 0)
                continue
            first, second, sine, cosine = prediction[slot, 4 * which : 4 * which + 4].tolist()
            label = int(bins[slot, which])
            classified += cross_entropy([first, second], label)
            if label:
                angle = residual[slot, which].item()
                residuals += distance(sine - math.sin(angle)) + distance(cosine - math.cos(angle))
                members += 1
        total += classified / slots + (residuals / members if members else 0.0)
    return total


@pytest.mark.parametrize(("count", "num_images"), [(1, 1), (7, 2), (50, 1), (23, 3)])
def test_equals_the_loop_over_padded_rows(count, num_images):
    rows = random_rows(count, seed=count)
    found = orientation_loss(*rows, num_images=num_images)
    expected = published_loss(*rows, SLOTS * num_images)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_the_papers_distance():
    rows = random_rows(9, seed=5)
    found = orientation_loss(*rows, num_images=1, normalizer="objects", kind="l1")
    assert found.item() == pytest.approx(published_loss(*rows, 9, distance=abs), rel=1e-9)


@pytest.mark.parametrize("count", [1, 9])
def test_by_the_number_of_objects(count):
    rows = random_rows(count, seed=3)
    found = orientation_loss(*rows, num_images=4, normalizer="objects")
    assert found.item() == pytest.approx(published_loss(*rows, count), rel=1e-9)


def test_members_of_one_bin_alone():
    """The mean of a bin's residuals is over its own members, and an empty bin has none."""
    prediction, _, _ = random_rows(3)
    bins, residual = orientation_bins(torch.tensor([-1.0, -2.0, -1.5], dtype=torch.float64))
    assert bins.sum(0).tolist() == [3, 0]
    found = orientation_loss(prediction, bins, residual, num_images=1)
    expected = published_loss(prediction, bins, residual, SLOTS)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_outputs_of_no_member_change_nothing():
    prediction, bins, residual = random_rows(12, seed=5)
    changed = prediction.clone().view(-1, 2, 4)
    assert not bins.all()
    changed[..., 2:][~bins] += 100
    one, other = (
        orientation_loss(rows.view(-1, 8), bins, residual, num_images=1)
        for rows in (prediction, changed)
    )
    assert one == other


@pytest.mark.parametrize("num_images", [1, 2, 3])
@pytest.mark.parametrize(("normalizer", "value"), [("max_objects", 1.386294), ("objects", 0.0)])
def test_without_objects(num_images, normalizer, value):
    maps = torch.randn(num_images, 8, 4, 4, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    rows = maps[none, :, none, none]
    bins, residual = orientation_bins(torch.zeros(0))
    loss = orientation_loss(rows, bins, residual, num_images=num_images, normalizer=normalizer)
    assert loss.item() == pytest.approx(value, abs=1e-6)
    loss.backward()
    assert maps.grad is not None
    assert not maps.grad.any()


def test_more_objects_than_slots_all_count():
    """The published code leaves those after the 50th out."""
    rows = random_rows(60, seed=2)
    found = orientation_loss(*rows, num_images=1)
    bins_only = published_loss(*rows, 60) * 60 / SLOTS
    residuals = orientation_loss(rows[0], *rows[1:], num_images=1, normalizer="objects")
    residuals = residuals.item() - _classification(*rows) / 60
    assert found.item() == pytest.approx(_classification(*rows) / SLOTS + residuals, rel=1e-9)
    assert found.item() < bins_only


def _classification(prediction, bins, residual) -> float:
    return sum(
        cross_entropy(prediction[row, 4 * which : 4 * which + 2].tolist(), int(bins[row, which]))
        for row in range(len(prediction))
        for which in range(2)
    )


def test_a_perfect_prediction_has_no_loss_of_its_own():
    bins, residual = orientation_bins(torch.tensor([0.1, 2.0, -3.0]))
    logits = torch.stack([~bins, bins], dim=-1) * 40.0
    prediction = torch.cat([logits, residual.sin()[..., None], residual.cos()[..., None]], dim=-1)
    loss = orientation_loss(prediction.flatten(1), bins, residual, num_images=1)
    assert loss.item() == pytest.approx(2 * math.log(2) * 47 / 50, abs=1e-6)
    by_objects = orientation_loss(
        prediction.flatten(1), bins, residual, num_images=1, normalizer="objects"
    )
    assert by_objects.item() == pytest.approx(0, abs=1e-6)


def test_gradients():
    prediction, bins, residual = random_rows(5, seed=4)
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda rows: orientation_loss(rows, bins, residual, num_images=2), prediction
    )


def test_bfloat16_is_computed_in_float32():
    prediction, bins, residual = random_rows(40, seed=6, dtype=torch.float32)
    rough = prediction.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = orientation_loss(rough, bins, residual, num_images=1)
    assert loss.dtype == torch.float32
    expected = published_loss(rough.double(), bins, residual, SLOTS)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
