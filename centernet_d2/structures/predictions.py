"""What heads hand to losses and decoding. N images, C classes, K peaks, (h, w) output map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CenterPredictions:
    """Raw maps of the points detector, one object per stack."""

    heatmap: Tensor  # (N, C, h, w) logits
    offset: Tensor  # (N, 2, h, w) center minus cell, (x, y) in cells
    regressions: dict[str, Tensor]  # branch of a point task -> (N, D, h, w)

    @property
    def map_size(self) -> tuple[int, int]:
        """(h, w) of the output map."""
        return self.heatmap.shape[-2], self.heatmap.shape[-1]


@dataclass(frozen=True)
class CenterMaps:
    """What the points detector decodes: maps of the last stack in float32, views averaged."""

    heatmap: Tensor  # (N, C, h, w) probabilities
    offset: Tensor  # (N, 2, h, w) center minus cell, (x, y) in cells
    # Branch of a point task -> (N, D, h, w); its heatmaps are probabilities too.
    regressions: dict[str, Tensor]

    @property
    def map_size(self) -> tuple[int, int]:
        """(h, w) of the output map."""
        return self.heatmap.shape[-2], self.heatmap.shape[-1]


@dataclass(frozen=True)
class Peaks:
    """The K highest local maxima of each image's heatmap, best first."""

    scores: Tensor  # (N, K)
    classes: Tensor  # (N, K) int64
    y: Tensor  # (N, K) int64, row of the cell
    x: Tensor  # (N, K) int64, column of the cell

    def gather(self, maps: Tensor) -> Tensor:
        """Values of maps (N, D, h, w) at the peaks: (N, K, D)."""
        image = torch.arange(maps.shape[0], device=maps.device)[:, None]
        return maps[image, :, self.y, self.x]
