"""Mean squared error of heatmaps, the usual loss of joints before penalty-reduced focal losses."""

import torch.nn.functional as F
from torch import Tensor

HEATMAP_LOSSES = ("focal", "mse")


def heatmap_mse_loss(values: Tensor, target: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Mean over all cells and channels of squared differences (published --mse_loss), in float32.

    `values` (N, C, h, w) are the heatmap itself, no logits, as is `target` in 0..1. Cells that are
    `hidden` (N, C, h, w), bool, are left out.
    """
    if hidden is None:
        return F.mse_loss(values.float(), target.float())
    squares = F.mse_loss(values.float(), target.float(), reduction="none")[~hidden]
    return squares.sum() / max(len(squares), 1)
