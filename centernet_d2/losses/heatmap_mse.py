"""Mean squared error of heatmaps, the usual loss of joints before penalty-reduced focal losses."""

import torch
import torch.nn.functional as F
from torch import Tensor

HEATMAP_LOSSES = ("focal", "mse")


def heatmap_mse_loss(values: Tensor, target: Tensor) -> Tensor:
    """Mean over all cells and channels of squared differences; published --mse_loss.

    `values` (N, C, h, w) are the heatmap itself, no logits, and are compared with a target
    (N, C, h, w) in 0..1. Computed in float32 (or wider) also under autocast.
    """
    with torch.autocast(values.device.type, enabled=False):
        values = values if values.dtype == torch.float64 else values.float()
        return F.mse_loss(values, target.to(values.dtype))
