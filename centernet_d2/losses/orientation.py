"""The loss of observation angles in two bins ("Objects as Points", appendix B). P objects."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .peak_regression import MAX_OBJECTS

ABSENT_BIN_LOSS = math.log(2)
"""Published: a place that no object of an image fills counts in the bins' mean with logits of 0."""


def orientation_loss(
    prediction: Tensor,
    bins: Tensor,
    residual: Tensor,
    *,
    num_images: int,
    normalizer: str = "max_objects",
    kind: str = "smooth_l1",
) -> Tensor:
    """Cross entropy of both bins, and distance of sine and cosine in the bins that hold the angle.

    Computed in float32 (or wider) also under autocast. Published behaviour; the paper divides
    all by the number of objects.

    Args:
        prediction: (P, 8); for each bin the logits that it does not and does hold the angle, then
            sine and cosine of the residual, as they are (not brought to length 1).
        bins: (P, 2) bool, see `orientation_bins`.
        residual: (P, 2) radians.
        num_images: N.
        normalizer: of the bins' part: "max_objects" divides by 50 N, and what no object fills
            counts log 2 per bin (published: 2 log 2 without objects); otherwise divides by P.
        kind: of sine and cosine: "smooth_l1" (published), which hardly asks for less than 10
            degrees, or "l1" (the paper's).

    Returns:
        Scalar, in the graph also without objects.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        if prediction.dtype != torch.float64:
            prediction = prediction.float()
        by_bin = prediction.view(-1, 2, 4)
        wrong = F.cross_entropy(
            by_bin[..., :2].flatten(0, 1), bins.flatten().long(), reduction="sum"
        )
        if normalizer == "max_objects":
            room = MAX_OBJECTS * num_images
            classified = (wrong + 2 * ABSENT_BIN_LOSS * max(room - len(bins), 0)) / room
        else:
            classified = wrong / max(len(bins), 1)
        direction = torch.stack([residual.sin(), residual.cos()], dim=-1).to(prediction.dtype)
        distance = F.smooth_l1_loss if kind == "smooth_l1" else F.l1_loss
        difference = distance(by_bin[..., 2:], direction, reduction="none")
        held = bins.unsqueeze(-1).to(prediction.dtype)
        # Each bin's mean over its own objects, sine and cosine added.
        residuals = (difference * held).sum((0, 2)) / held.sum((0, 2)).clamp(min=1)
        return classified + residuals.sum()
