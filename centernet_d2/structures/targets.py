"""What targets hand to losses. P objects of the batch, C classes, (h, w) output map."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PeakIndex:
    """Where P objects of a batch sit on the output map: ragged, so nothing overflows."""

    image: Tensor  # (P,) int64, index into the batch
    y: Tensor  # (P,) int64, row of the cell
    x: Tensor  # (P,) int64, column of the cell

    def __len__(self) -> int:
        return len(self.image)

    def gather(self, maps: Tensor) -> Tensor:
        """Values of maps (N, D, h, w) at the peaks: (P, D)."""
        return maps[self.image, :, self.y, self.x]


@dataclass(frozen=True)
class CenterTargets:
    """Ground truth of objects as center points, in the output map's frame."""

    heatmap: Tensor  # (N, C, h, w) in 0..1, exactly 1 at each center's cell
    peaks: PeakIndex  # P objects
    classes: Tensor  # (P,) int64
    offset: Tensor  # (P, 2) center minus cell, (x, y) in [0, 1)
    size: Tensor  # (P, 2) width and height, cells
    # (P,) int64, rows of the objects that the targets were made from (those off the map are left
    # out)
    kept: Tensor


@dataclass(frozen=True)
class KeypointTargets:
    """Ground truth of one kind of keypoint of P objects, in the output map's frame."""

    heatmap: Tensor  # (N, C, h, w) in 0..1, exactly 1 at each point's cell
    peaks: PeakIndex  # P objects, the same order for all kinds
    offset: Tensor  # (P, 2) point minus cell, (x, y) in [0, 1)


@dataclass(frozen=True)
class CornerTargets:
    """Ground truth of objects as pairs of corners, and as centers where these are asked for."""

    top_left: KeypointTargets
    bottom_right: KeypointTargets
    center: KeypointTargets | None
    image: Tensor  # (P,) int64, index into the batch
    num_images: int
