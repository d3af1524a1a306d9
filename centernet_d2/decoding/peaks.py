"""Heatmap -> its best local maxima. N images, C classes, K peaks, (h, w) output map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..structures.predictions import Peaks


def local_maxima(heatmap: Tensor, kernel: int = 3) -> Tensor:
    """Heatmap (N, C, h, w) with all cells but local maxima set to 0.

    A cell stays when it equals the maximum of the window of side `kernel` around it, so all cells
    of a plateau stay (published behaviour).
    """
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"MODEL.HEATMAP.PEAK_KERNEL must be odd and positive, got {kernel}")
    highest = F.max_pool2d(heatmap, kernel, stride=1, padding=kernel // 2)
    # Not `==`: a NaN must stay visible instead of turning into a score of 0.
    return torch.where(heatmap < highest, 0, heatmap)


def top_peaks(heatmap: Tensor, k: int, kernel: int = 3) -> Peaks:
    """The `k` highest local maxima of each image over all classes, best first.

    There are fewer where the map has fewer cells.
    First the best `k` of each class, then the best of these (published order, which decides ties).

    Args:
        heatmap: (N, C, h, w) probabilities.
        k: number of peaks per image in total, not per class.
        kernel: see `local_maxima`.
    """
    _num_images, num_classes, height, width = heatmap.shape
    cells = height * width
    scores, cell = local_maxima(heatmap, kernel).flatten(2).topk(min(k, cells))
    per_class = scores.shape[2]
    scores, best = scores.flatten(1).topk(min(k, num_classes * per_class))
    cell = cell.flatten(1).gather(1, best)
    y = torch.div(cell, width, rounding_mode="floor")
    return Peaks(
        scores=scores,
        classes=torch.div(best, per_class, rounding_mode="floor"),
        y=y,
        x=cell - y * width,  # not `%`: exporters do not take it with a symbolic width
    )
