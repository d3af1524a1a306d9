"""What heads hand to losses and decoding. N images, C classes, K peaks, (h, w) output map."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class OutputMaps:
    """Maps that a heatmap is among."""

    heatmap: Tensor  # (N, C, h, w)

    @property
    def map_size(self) -> tuple[int, int]:
        """(h, w) of the output map."""
        return self.heatmap.shape[-2], self.heatmap.shape[-1]


@dataclass(frozen=True)
class CenterPredictions(OutputMaps):
    """Raw maps of the points detector, one object per stack."""

    heatmap: Tensor  # (N, C, h, w) logits
    # (N, 2, h, w) center minus cell, (x, y) in cells; None: centers lie in the middle of cells
    offset: Tensor | None
    regressions: dict[str, Tensor]  # branch of a point task -> (N, D, h, w)


@dataclass(frozen=True)
class CenterMaps(OutputMaps):
    """What the points detector decodes: maps of the last stack in float32, views averaged."""

    heatmap: Tensor  # (N, C, h, w) probabilities
    offset: Tensor | None  # (N, 2, h, w) center minus cell, (x, y) in cells
    # Branch of a point task -> (N, D, h, w); its heatmaps are probabilities too.
    regressions: dict[str, Tensor]


@dataclass(frozen=True)
class Peaks:
    """The K highest local maxima of each image's heatmap, best first."""

    scores: Tensor  # (N, K)
    classes: Tensor  # (N, K) int64
    y: Tensor  # (N, K) int64, row of the cell
    x: Tensor  # (N, K) int64, column of the cell
    slot: Tensor | None = None  # (N, K) int64, which of several sizes; see `CenterTargets`

    def gather(self, maps: Tensor) -> Tensor:
        """Values of maps (N, D, h, w) at the peaks: (N, K, D)."""
        image = torch.arange(maps.shape[0], device=maps.device)[:, None]
        return maps[image, :, self.y, self.x]


@dataclass(frozen=True)
class KeypointMaps(OutputMaps):
    """Maps of one kind of keypoint: top-left corners, bottom-right corners, or centers."""

    heatmap: Tensor  # (N, C, h, w) logits from the head, probabilities where they are decoded
    offset: Tensor  # (N, 2, h, w) point minus cell, (x, y) in cells
    embedding: Tensor | None = None  # (N, 1, h, w), of corners: alike in corners of one object


@dataclass(frozen=True)
class CornerPredictions:
    """Raw maps of the corner detectors, one object per stack."""

    top_left: KeypointMaps
    bottom_right: KeypointMaps
    center: KeypointMaps | None = None  # of the triplet detector

    @property
    def map_size(self) -> tuple[int, int]:
        """(h, w) of the output map."""
        return self.top_left.map_size


@dataclass(frozen=True)
class Keypoints:
    """The K best keypoints of one kind in each image, best first, on the output map."""

    scores: Tensor  # (N, K)
    classes: Tensor  # (N, K) int64
    points: Tensor  # (N, K, 2) as (x, y): cell plus offset
    embedding: Tensor | None = None  # (N, K), of corners


@dataclass(frozen=True)
class CornerPairs:
    """The M best pairs of corners of each image, best first; boxes in the frame of the corners."""

    boxes: Tensor  # (N, M, 4) x1, y1, x2, y2
    scores: Tensor  # (N, M) mean of both corners' scores; -1: no pair, to be left out
    corner_scores: Tensor  # (N, M, 2) of the top-left and of the bottom-right corner
    classes: Tensor  # (N, M) int64


def named_maps(maps: Any, name: str = "") -> dict[str, Tensor]:
    """All maps in an object of maps or a mapping, by their fields' names: "top_left_offset"."""
    if isinstance(maps, Tensor):
        return {name: maps}
    found: dict[str, Tensor] = {}
    for key, value in (
        maps if isinstance(maps, Mapping) else getattr(maps, "__dict__", {})
    ).items():
        # Keys of a mapping are names already, without that of the field.
        found |= named_maps(
            value, name if isinstance(value, Mapping) else f"{name}_{key}".strip("_")
        )
    return found
