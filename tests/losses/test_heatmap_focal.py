"""The focal loss by hand, by reduction to a known case and at its edges."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from centernet_d2.losses import heatmap_focal
from centernet_d2.losses.heatmap_focal import CLAMP, COLLAPSED, FocalLoss, heatmap_focal_loss


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_by_hand():
    logits = torch.tensor([[[[logit(0.8), logit(0.3), logit(0.6)]]]])
    target = torch.tensor([[[[1.0, 0.5, 0.0]]]])
    positive = -math.log(0.8) * 0.2**2
    near = -math.log(0.7) * 0.3**2 * 0.5**4
    far = -math.log(0.4) * 0.6**2
    assert heatmap_focal_loss(logits, target).item() == pytest.approx(
        positive + near + far, rel=1e-5
    )


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 6, 1)])
def test_cells_need_not_be_maps(shape):
    logits, target = torch.linspace(-2, 2, 6), torch.tensor([0, 0.5, 1, 1, 0.2, 0])
    maps = (values.view(1, 1, 2, 3) for values in (logits, target))
    found = heatmap_focal_loss(logits.view(shape), target.view(shape))
    assert torch.equal(found, heatmap_focal_loss(*maps))


def test_published_corner_values():
    logits = torch.full((1, 1, 3, 3), -2.19)
    target = torch.zeros(1, 1, 3, 3)
    assert heatmap_focal_loss(logits, target).item() == pytest.approx(0.0096726, abs=6e-8)
    target[0, 0, 1] = torch.tensor([0.5, 1.0, 0.0])
    assert heatmap_focal_loss(logits, target).item() == pytest.approx(1.864725, abs=6e-7)


def test_is_divided_by_the_positives_of_the_whole_batch():
    logits = torch.zeros(2, 1, 2, 2)
    target = torch.zeros(2, 1, 2, 2)
    target[0, 0, 0, 0] = target[1, 0, 1, 1] = target[1, 0, 0, 1] = 1
    cell = math.log(2) / 4  # positives and negatives alike at probability one half
    assert heatmap_focal_loss(logits, target).item() == pytest.approx(8 * cell / 3, rel=1e-5)
    halved = heatmap_focal_loss(logits, target, normalizer=torch.tensor(6.0))
    assert halved.item() == pytest.approx(8 * cell / 6, rel=1e-5)


def test_each_image_is_divided_by_its_own_objects_where_asked():
    """Two objects of an image may share a cell, and an image without any counts as one."""
    target = torch.zeros(3, 1, 2, 2)
    target[0, 0, 0, 0] = target[1, 0, 1, 1] = target[1, 0, 0, 1] = 1
    image = torch.tensor([1, 0, 1, 1])
    cells = 4 * math.log(2) / 4
    found = FocalLoss(normalizer="objects")(torch.zeros_like(target), target, image)
    assert found.item() == pytest.approx((cells / 1 + cells / 3 + cells / 1) / 3, rel=1e-5)
    published = FocalLoss()(torch.zeros_like(target), target, image)
    assert torch.equal(published, heatmap_focal_loss(torch.zeros_like(target), target))


def test_without_exponents_it_is_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    target = (torch.rand(2, 3, 4, 5, generator=generator) > 0.8).float()
    loss = heatmap_focal_loss(logits, target, alpha=0, beta=0, normalizer=torch.tensor(1.0))
    expected = F.binary_cross_entropy_with_logits(logits, target, reduction="sum")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_no_positives_is_finite_and_not_divided():
    logits = torch.full((1, 1, 2, 2), -2.19, requires_grad=True)
    loss = heatmap_focal_loss(logits, torch.zeros(1, 1, 2, 2))
    p = 1 / (1 + math.exp(2.19))
    assert loss.item() == pytest.approx(4 * -math.log(1 - p) * p**2, rel=1e-5)
    loss.backward()
    assert logits.grad.abs().sum() > 0


def test_collapsed_value_is_the_one_that_users_report():
    logits = torch.full((1, 1, 1, 1), -50.0)
    loss = heatmap_focal_loss(logits, torch.ones(1, 1, 1, 1))
    assert loss.item() == pytest.approx(COLLAPSED, rel=1e-5)
    assert pytest.approx(-math.log(CLAMP) * (1 - CLAMP) ** 2) == COLLAPSED


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_extremes_stay_finite(dtype):
    logits = torch.tensor([[[[-60.0, 60.0, 0.0, -60.0]]]], dtype=dtype, requires_grad=True)
    target = torch.tensor([[[[1.0, 0.0, 1.0, 0.3]]]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = heatmap_focal_loss(logits, target)
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    loss.backward()
    assert logits.grad.isfinite().all()


def test_gradient_is_right_and_arguments_stay():
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(1, 2, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.rand(1, 2, 3, 3, generator=generator, dtype=torch.float64)
    target[0, 0, 1, 1] = 1
    before = logits.detach().clone()
    assert torch.autograd.gradcheck(lambda x: heatmap_focal_loss(x, target), logits)
    assert torch.equal(logits.detach(), before)


@pytest.mark.parametrize("exponents", [(2.0, 4.0), (1.5, 3.0)])
@pytest.mark.parametrize("layouts", ["NCHW", "logits last", "target last", "both last"])
def test_blocks_of_any_layout_are_the_plain_formula(layouts, exponents, monkeypatch):
    """As autograd makes it of the formula; on the clamp there is no gradient."""
    monkeypatch.setattr(heatmap_focal, "BLOCK", 50)
    generator = torch.Generator().manual_seed(3)
    logits = 6 * torch.randn(2, 3, 5, 7, generator=generator)
    target = torch.rand(2, 3, 5, 7, generator=generator).sub(0.5).clamp(0).mul(2)
    target[0, 1, 2, 3] = target[1, 2, 0, 0] = 1
    alpha, beta = exponents
    plain = logits.double().requires_grad_()
    p = plain.sigmoid().clamp(CLAMP, 1 - CLAMP)
    at = target == 1
    cells = torch.where(
        at, (1 - p) ** alpha * p.log(), (1 - target) ** beta * p**alpha * (1 - p).log()
    )
    expected = -cells.sum() / 2
    expected.backward()
    last = torch.channels_last
    if layouts in ("logits last", "both last"):
        logits = logits.contiguous(memory_format=last)
    if layouts in ("target last", "both last"):
        target = target.contiguous(memory_format=last)
    logits.requires_grad_()
    loss = heatmap_focal_loss(logits, target, alpha=alpha, beta=beta)
    (3 * loss).backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(logits.grad, 3 * plain.grad.float(), rtol=1e-4, atol=1e-6)
    assert logits.grad.stride() == logits.stride()
    assert (plain.grad == 0).any()
    with torch.no_grad():
        assert torch.equal(heatmap_focal_loss(logits, target, alpha=alpha, beta=beta), loss)
