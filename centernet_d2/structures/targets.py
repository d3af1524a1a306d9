"""What targets hand to losses. P objects of the batch, C classes, (h, w) output map."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class PeakIndex:
    """Where P objects of a batch sit on the output map: ragged, so nothing overflows."""

    image: Tensor  # (P,) int64, index into the batch
    y: Tensor  # (P,) int64, row of the cell
    x: Tensor  # (P,) int64, column of the cell

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, rows: Tensor | slice) -> Self:
        """Some of them."""
        return replace(self, image=self.image[rows], y=self.y[rows], x=self.x[rows])

    @property
    def cells(self) -> Tensor:
        """(P, 2) int64 as (x, y)."""
        return torch.stack([self.x, self.y], dim=-1)

    def gather(self, maps: Tensor) -> Tensor:
        """Values of maps (N, D, h, w) at the peaks: (P, D)."""
        return maps[self.image, :, self.y, self.x]


@dataclass(frozen=True)
class LearnedCells:
    """The cells in which values of P points are learned: their own, or those around them too."""

    peaks: PeakIndex  # Q cells
    owner: Tensor  # (Q,) int64, row of the cell's point
    weight: Tensor | None = None  # (Q,) in 0..1, 1 in the point's own cell; None: all count alike


@dataclass(frozen=True)
class CenterTargets:
    """Ground truth of objects as center points, in the output map's frame."""

    heatmap: Tensor  # (N, C, h, w) in 0..1, exactly 1 at each center's cell
    peaks: PeakIndex  # P objects
    classes: Tensor  # (P,) int64
    offset: Tensor  # (P, 2) center minus cell, (x, y) in [0, 1)
    size: Tensor  # (P, 2) width and height, cells
    radius: Tensor  # (P,) int64 radius of the object's Gaussian, cells
    # (P,) int64, rows of the objects that the targets were made from (those off the map are left
    # out)
    kept: Tensor
    # (P,) bool, whose offset and size are learned; the others are positives of the heatmap alone
    regression_mask: Tensor
    # (P,) int64, which of a point's sizes, so that its channel is class x sizes + slot; None: one
    slot: Tensor | None = None
    # (N, C, h, w) bool, cells of the heatmap that ignored objects weaken; None: there are none
    hidden: Tensor | None = None

    @property
    def num_images(self) -> int:
        """N."""
        return self.heatmap.shape[0]


@dataclass(frozen=True)
class JointTargets:
    """Ground truth of joints: Q labelled ones, of P objects with J joints each; output map."""

    owner: Tensor  # (Q,) int64, the joint's object, a row of `CenterTargets.peaks`
    joint: Tensor  # (Q,) int64 in 0..J-1
    displacement: Tensor  # (Q, 2) joint minus its object's center *cell*, (x, y) in cells
    peaks: PeakIndex  # Q cells that the joints lie in
    offset: Tensor  # (Q, 2) joint minus its own cell, (x, y) in [0, 1)
    # (N, J, h, w) in 0..1, exactly 1 at each joint's cell; None where no heatmap is learned
    heatmap: Tensor | None = None
    # Around the centers, of the Q joints; None: displacements are learned at the centers alone.
    dense: LearnedCells | None = None


@dataclass(frozen=True)
class Box3DTargets:
    """Ground truth of P objects' boxes in the camera frame, metres and radians."""

    depth: Tensor  # (P,) z of the location
    dimensions: Tensor  # (P, 3) height, width, length
    bins: Tensor  # (Q, 2) bool, which of both bins hold the observation angle, of Q headed ones
    residual: Tensor  # (Q, 2) observation angle minus the bins' middles
    supervised: Tensor  # (P,) bool, whose depth and dimensions are learned
    headed: Tensor  # (P,) bool, whose observation angle is known


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
