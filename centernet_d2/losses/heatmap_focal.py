"""Penalty-reduced focal loss on heatmaps (CornerNet section 3.2, points paper equation 1)."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..checked_values import check_at_least, check_choice

CLAMP = 1e-4
"""Probabilities are kept this far from 0 and 1, as published."""

COLLAPSED = -math.log(CLAMP) * (1 - CLAMP) ** 2
"""About 9.2085: the loss per object when every positive sits on the clamp and learns nothing."""

BLOCK = 2**17  # cells that a CPU works on at once


def heatmap_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 4.0,
    normalizer: Tensor | None = None,
) -> Tensor:
    """Focal loss whose negatives count less the nearer they are to a positive.

    L = -[ sum over target = 1 of (1-p)^alpha log p  +  sum over target < 1 of (1-target)^beta
    p^alpha log(1-p) ] / n

    Computed in float32 (or wider) also under autocast, since log of a half-precision zero is not
    finite.

    Args:
        logits: (N, C, h, w) before the sigmoid.
        target: (N, C, h, w) in 0..1; exactly 1 marks a positive.
        alpha: exponent on the error of the prediction.
        beta: exponent on the distance from a positive.
        normalizer: n, a scalar tensor. None: the number of positives in the whole batch
            (published), at least 1, so that a batch without objects is not divided.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = _wide(logits)
        target = target.to(logits.dtype)
        if normalizer is None:
            normalizer = (target == 1).sum().clamp(min=1)
        total: Tensor = _FocalSum.apply(logits, target, alpha, beta)
        return total / normalizer


class _FocalSum(torch.autograd.Function):
    """The sum over all cells of maps (N, C, h, w) of either layout; its gradient is made with it.

    On a CPU in blocks: what is between stays in the cache, where each operation on whole maps
    would go through memory, most of it not touched before.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, alpha: float, beta: float) -> Tensor:
        last = logits.dim() == 4 and logits.stride(1) == 1  # channels
        ordered = logits.permute(0, 2, 3, 1) if last else logits
        wanted = (target.permute(0, 2, 3, 1) if last else target).reshape(-1)
        cells, slope, total = ordered.reshape(-1), None, logits.new_zeros(())
        if ctx.needs_input_grad[0]:
            slope = torch.empty_like(cells)
            slopes = slope.view(ordered.shape)
            ctx.save_for_backward(slopes.permute(0, 3, 1, 2) if last else slopes)
        blocks = [slice(None)]
        if logits.device.type == "cpu" and not torch.compiler.is_compiling():
            blocks = [slice(k, k + BLOCK) for k in range(0, len(cells), BLOCK)]
        for rows in blocks:
            out = None if slope is None else slope[rows]
            total += _block(cells[rows], wanted[rows], alpha, beta, out)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.saved_tensors[0] * gradient, None, None, None


def _block(logits: Tensor, target: Tensor, alpha: float, beta: float, out: Tensor | None) -> Tensor:
    """The sum of cells (n,), not divided; `out` takes the derivative by each logit."""
    positive = target == 1
    sign = positive.to(logits.dtype).mul_(2).sub_(1)
    # Both terms are one in the probability of being right: p at positives, 1 - p at negatives.
    free = (logits * sign).sigmoid_()
    right = free.clamp(CLAMP, 1 - CLAMP)
    wrong = 1 - right
    weight = _power(wrong, alpha) * _power(1 - target, beta).masked_fill_(positive, 1)
    value = right.log().mul_(weight)
    if out is not None:
        sign.mul_(free == right)  # on the clamp nothing is learned
        change = torch.addcmul(wrong.mul_(weight).neg_(), value, right, value=alpha)
        torch.mul(change, sign, out=out)
    return -value.sum()


@dataclass(frozen=True)
class FocalLoss:
    """`heatmap_focal_loss` with its two exponents (published: 2 and 4) and normalizer."""

    alpha: float = 2.0  # on the error of the prediction
    beta: float = 4.0  # on the distance from a positive
    # "peaks", positives of the batch, or "objects": of each image its own, and the mean of images
    normalizer: str = "peaks"

    def __post_init__(self) -> None:
        check_at_least("alpha", self.alpha, 0)
        check_at_least("beta", self.beta, 0)
        check_choice("normalizer", self.normalizer, ("peaks", "objects"))

    def __call__(self, logits: Tensor, target: Tensor, image: Tensor) -> Tensor:
        """The loss of logits against a target heatmap, (N, C, h, w), of objects of `image` (P,)."""
        loss = partial(heatmap_focal_loss, alpha=self.alpha, beta=self.beta)
        if self.normalizer == "peaks":
            return loss(logits, target)
        counts = torch.bincount(image, minlength=len(logits)).clamp(min=1)
        images = zip(logits.split(1), target.split(1), counts, strict=True)
        return torch.stack([loss(own, wanted, normalizer=n) for own, wanted, n in images]).mean()


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _power(base: Tensor, exponent: float) -> Tensor:
    # torch.pow is several times slower than multiplying for the usual exponents.
    if exponent == 2:
        return base.square()
    if exponent == 4:
        return base.square().square()
    return base.pow(exponent)
