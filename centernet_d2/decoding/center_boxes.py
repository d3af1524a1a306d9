"""Peaks and their regressed sizes -> boxes. N images, C classes, K peaks, (h, w) output map."""

import torch
from torch import Tensor

from ..structures.predictions import Peaks

NO_OFFSET = 0.5
"""Where in its cell a center is taken to lie when no offset is predicted (published behaviour)."""


def peak_centers(peaks: Peaks, offset: Tensor | None) -> Tensor:
    """Centers (N, K, 2) as (x, y) on the output map: cell plus offset (N, 2, h, w) there."""
    cell = torch.stack([peaks.x, peaks.y], dim=-1)
    return cell + (NO_OFFSET if offset is None else peaks.gather(offset))


def center_boxes(peaks: Peaks, centers: Tensor, size: Tensor) -> Tensor:
    """Boxes (N, K, 4) x1, y1, x2, y2 around the centers (N, K, 2), on the output map, not clipped.

    `size` is (N, 2, h, w) width and height in cells, or (N, 2 * C, h, w) with one pair per class,
    or one for each of a point's sizes.
    """
    values = peaks.gather(size)
    if values.shape[-1] > 2:
        pairs = values.unflatten(-1, (-1, 2))
        which = peaks.classes if peaks.slot is None else peaks.slot
        chosen = which[:, :, None, None].expand(-1, -1, 1, 2)
        values = pairs.gather(2, chosen).squeeze(2)
    return torch.cat([centers - values / 2, centers + values / 2], dim=-1)
