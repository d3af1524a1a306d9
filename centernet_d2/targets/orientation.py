"""Observation angles as two overlapping bins with residuals ("Objects as Points", appendix B)."""

import math

import torch
from torch import Tensor

BIN_CENTERS = (-math.pi / 2, math.pi / 2)
OVERLAP = math.pi / 6  # by which each bin reaches over 0 and over pi


def orientation_bins(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Which bins hold an angle, and how far it is from each bin's middle.

    The bins have their middles at -pi/2 and pi/2 and are 4 pi / 3 wide, so that they share a sixth
    of a turn around 0 and around pi; an angle there lies in both. Published borders: bin 1 below
    pi/6 or above 5 pi/6, bin 2 above -pi/6 or below -5 pi/6.

    Args:
        alpha: (P,) radians in [-pi, pi].

    Returns:
        (P, 2) bool and (P, 2) radians, not wrapped: only their sine and cosine are used.
    """
    middle = alpha.new_tensor(BIN_CENTERS)
    residual = alpha[:, None] - middle
    first = (alpha < OVERLAP) | (alpha > math.pi - OVERLAP)
    second = (alpha > -OVERLAP) | (alpha < OVERLAP - math.pi)
    return torch.stack([first, second], dim=1), residual
