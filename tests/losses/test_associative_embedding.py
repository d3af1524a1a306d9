"""Pull and push against the published numbers and against a loop over pairs."""

from __future__ import annotations

import pytest
import torch

from centernet_d2.losses.associative_embedding import associative_embedding_loss


def loss(top_left, bottom_right, image, num_images, dtype=torch.float64, **options):
    values = (torch.tensor(v, dtype=dtype) for v in (top_left, bottom_right))
    image = torch.tensor(image, dtype=torch.int64)
    return [v.item() for v in associative_embedding_loss(*values, image, num_images, **options)]


@pytest.mark.parametrize(
    ("top_left", "bottom_right", "image", "num_images", "pull", "push"),
    [  # published values, of float32, whose rounding an image with one object magnifies
        ([0, 0.4, 1], [0.2, 0.4, 0.5], [0, 0, 1], 2, 0.134987, 1.700181),
        ([0.3, 0.7], [0.3, 0.7], [0, 1], 2, 0, 2.0003),
        ([], [], [], 2, 0, 0),
        ([0, 5], [0, 5], [0, 0], 2, 0, 5e-5),
        ([1, 1, 1], [1, 1, 1], [0, 0, 0], 2, 0, 1.0),
    ],
)
def test_published_numbers(top_left, bottom_right, image, num_images, pull, push):
    found = loss(top_left, bottom_right, image, num_images, torch.float32)
    assert found == pytest.approx([pull, push], abs=5e-5)


def by_loop(top_left, bottom_right, image, num_images, margin=1.0):
    mean = (top_left + bottom_right) / 2
    pull = push = 0
    for number in range(num_images):
        rows = [k for k in range(len(image)) if image[k] == number]
        n = len(rows)
        for k in rows:
            square = (top_left[k] - mean[k]) ** 2 + (bottom_right[k] - mean[k]) ** 2
            pull = pull + square / (n + 1e-4)
            for other in rows:
                close = (margin - (mean[k] - mean[other]).abs()).clamp(min=0)
                push = push + (close - 1 / (n + 1e-4)) / (n * (n - 1) + 1e-4)
    return pull, push


@pytest.mark.parametrize("counts", [(4, 0, 2), (1, 1, 1), (0, 0, 5), (7,)])
@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_equals_a_loop_in_any_order_of_objects(counts, margin):
    generator = torch.Generator().manual_seed(sum(counts))
    image = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    image = image[torch.randperm(len(image), generator=generator)]
    values = torch.randn(2, len(image), dtype=torch.float64, generator=generator)
    found = associative_embedding_loss(*values, image, len(counts), margin=margin)
    expected = by_loop(*values, image, len(counts), margin)
    for one, other in zip(found, expected, strict=True):
        assert one.item() == pytest.approx(other.item(), abs=1e-12)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_gradients(reduction):
    values = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    image = torch.tensor([0, 1, 1, 0, 0, 3])
    values.requires_grad_()

    def total(value):
        pull, push = associative_embedding_loss(*value, image, 4, reduction=reduction)
        return pull + 3 * push

    assert torch.autograd.gradcheck(total, values)
    (gradient,) = torch.autograd.grad(total(values), values)
    pull, push = by_loop(*values, image, 4)
    (expected,) = torch.autograd.grad(pull + 3 * push, values)
    assert torch.allclose(gradient * (4 if reduction == "mean" else 1), expected, atol=1e-12)


def test_objects_whose_corners_share_a_cell_are_told_apart_by_nothing():
    """They read the same embedding, so the push between them has no direction: 1, no gradient."""
    cell = torch.tensor([0.3], requires_grad=True)
    both = cell.expand(2)
    pull, push = associative_embedding_loss(both, both, torch.tensor([0, 0]), 1)
    assert push.item() == pytest.approx(1, abs=1e-3)
    (pull + push).backward()
    assert cell.grad.item() == 0


def test_sum_grows_with_the_batch_and_mean_does_not():
    one = ([0.0, 0.4], [0.2, 0.4], [0, 0])
    twice = ([*one[0], *one[0]], [*one[1], *one[1]], [0, 0, 1, 1])
    assert loss(*twice, 2) == pytest.approx([2 * v for v in loss(*one, 1)])
    assert loss(*twice, 2, reduction="mean") == pytest.approx(loss(*one, 1, reduction="mean"))
    with pytest.raises(ValueError, match="'max'"):
        loss(*one, 1, reduction="max")


def test_single_objects_give_no_push_gradient():
    top_left = torch.tensor([0.5, -0.2], requires_grad=True)
    _, push = associative_embedding_loss(top_left, top_left * 1, torch.tensor([0, 1]), 2)
    push.backward()
    assert push.item() == pytest.approx(2.0, abs=1e-3)
    assert top_left.grad.abs().max() < 1e-6


def test_without_objects_zero_but_in_the_graph():
    embedding = torch.zeros(0, requires_grad=True)
    losses = associative_embedding_loss(embedding, embedding, torch.zeros(0, dtype=torch.int64), 3)
    assert [value.item() for value in losses] == [0, 0]
    assert all(value.requires_grad for value in losses)
    sum(losses).backward()
    assert embedding.grad is not None


def test_half_precision_is_computed_in_float32():
    values = torch.randn(2, 30, generator=torch.Generator().manual_seed(0))
    image = torch.zeros(30, dtype=torch.int64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = associative_embedding_loss(*values.bfloat16(), image, 1)
    full = associative_embedding_loss(*values.bfloat16().float(), image, 1)
    for one, other in zip(half, full, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wide = associative_embedding_loss(*values.double(), image, 1)
    assert [value.dtype for value in wide] == [torch.float64] * 2


def test_three_hundred_objects_in_each_of_sixteen_images():
    """More than the 128 of the published code, and no table of all pairs of the batch is made."""
    count, images = 300, 16
    image = torch.arange(count * images) % images
    values = torch.randn(
        2, count * images, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    elements = []

    def note(tensor):
        elements.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        pull, push = associative_embedding_loss(*values, image, images)
    assert max(elements) <= images * count**2 < (images * count) ** 2 / 10

    top_left, bottom_right = values.detach().view(2, count, images)
    squares = (top_left - bottom_right).square().sum() / 2
    assert pull.item() == pytest.approx((squares / (count + 1e-4)).item(), rel=1e-9)
    expected = 0.0
    for mean in ((top_left + bottom_right) / 2).T:
        close = (1 - (mean[:, None] - mean).abs()).clamp(min=0) - 1 / (count + 1e-4)
        expected += close.sum().item() / (count * (count - 1) + 1e-4)
    assert push.item() == pytest.approx(expected, rel=1e-9)
