"""Penalty-reduced focal loss on heatmaps (CornerNet section 3.2, points paper equation 1)."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..checked_values import check_at_least, check_choice

CLAMP = 1e-4
"""Probabilities are kept this far from 0 and 1, as published."""

COLLAPSED = -math.log(CLAMP) * (1 - CLAMP) ** 2
"""About 9.2085: the loss per object when every positive sits on the clamp and learns nothing."""


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
        with torch.no_grad():
            target = target.to(logits.dtype)
            positive = target == 1
            if normalizer is None:
                normalizer = positive.sum().clamp(min=1)
            weight = torch.where(positive, 1, _power(1 - target, beta))
            sign = 2 * positive.to(logits.dtype) - 1
        # Both terms are one in the probability of being right: p at positives, 1 - p at negatives.
        right = (logits * sign).sigmoid().clamp(CLAMP, 1 - CLAMP)
        return -(torch.log(right) * _power(1 - right, alpha) * weight).sum() / normalizer


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
