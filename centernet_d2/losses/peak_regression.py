"""Regression losses on values read from maps at the objects' cells. P objects, D channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PUBLISHED_SLOTS = 50
"""Objects per image that the published code for 3-D boxes makes room for, and divides by."""

EPSILON = 1e-4
"""Added to the normaliser, as published, so that a batch without objects gives zero."""


def peak_regression_loss(
    prediction: Tensor,
    target: Tensor,
    *,
    kind: str = "l1",
    normalizer: str | float = "elements",
    num_images: int | None = None,
) -> Tensor:
    """Sum of absolute (or smooth) differences over a normaliser.

    Without objects it is zero, yet in the graph.
    Computed in float32 (or wider) also under autocast.

    Args:
        prediction: (P, D), see `PeakIndex.gather`.
        target: (P, D).
        kind: "l1" or "smooth_l1".
        normalizer: "elements" divides by P * D (the published L1 loss, half of the paper's value
            for D = 2), "objects" by P (the paper's 1/N, and the published smooth L1 loss),
            "max_objects" by 50 N D however many objects there are (published for 3-D boxes); a
            number divides by itself.
        num_images: N, for "max_objects".

    Returns:
        Scalar.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ in shape"
        )
    with torch.autocast(prediction.device.type, enabled=False):
        if prediction.dtype != torch.float64:
            prediction = prediction.float()
        target = target.to(prediction.dtype)
        if kind == "l1":
            total = F.l1_loss(prediction, target, reduction="sum")
        elif kind == "smooth_l1":
            total = F.smooth_l1_loss(prediction, target, reduction="sum")
        else:
            raise ValueError(f"regression loss must be 'l1' or 'smooth_l1', got '{kind}'")
        return total / (_count(prediction, normalizer, num_images) + EPSILON)


def _count(prediction: Tensor, normalizer: str | float, num_images: int | None) -> float:
    if normalizer == "max_objects" and num_images is not None:
        return PUBLISHED_SLOTS * num_images * prediction.shape[1]
    if normalizer == "elements":
        return prediction.numel()
    if normalizer == "objects":
        return prediction.shape[0]
    if isinstance(normalizer, str):
        raise ValueError(
            "MODEL.POINTS_CENTERNET.REGRESSION_NORMALIZER must be 'elements', 'objects' or "
            f"'max_objects' (with num_images), got '{normalizer}'"
        )
    return normalizer
