"""How far around an object's point the heatmap is lowered, and the drawing of it.

P objects, N images, C classes, (h, w) output map; lengths in cells of the output map.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import torch
from torch import Tensor

from ..checked_values import check_at_least
from ..structures.targets import LearnedCells, PeakIndex


class RadiusRule(StrEnum):
    """Rule from an object's size to the radius of its Gaussian.

    `LEGACY` is what the published points and triplet code computes (the larger root of each
    quadratic, undivided), about 3.3 times the exact radius at overlap 0.7; all their weights were
    trained with it. `EXACT` is CornerNet's correction: the largest shift that keeps the asked
    overlap. `FIXED` is one radius for all, `NONE` a single positive cell.
    """

    LEGACY = "legacy"
    EXACT = "exact"
    FIXED = "fixed"
    NONE = "none"

    @classmethod
    def _missing_(cls, value: object) -> Self:
        known = ", ".join(repr(rule.value) for rule in cls)
        raise ValueError(f"radius_rule must be one of {known}, got {value!r}")


def overlap_radius(height: Tensor, width: Tensor, min_overlap: float, rule: RadiusRule) -> Tensor:
    """Radius within which a shifted box still overlaps its object (CornerNet section 3.2).

    Three ways to shift two opposite corners by r give a quadratic a r^2 - b r + c = 0 each: one
    corner in and one out, both in, both out. The radius is the smallest of the three.

    Args:
        height: (P,) object heights, cells.
        width: (P,) object widths, cells.
        min_overlap: intersection over union, between 0 and 1.
        rule: `LEGACY` or `EXACT`; see `RadiusRule`.

    Returns:
        (P,) float64 radii, not rounded.
    """
    height, width = height.double(), width.double()
    both, area = height + width, height * width
    quadratics = (
        (1.0, both, area * (1 - min_overlap) / (1 + min_overlap)),
        (4.0, 2 * both, (1 - min_overlap) * area),
        (4 * min_overlap, -2 * min_overlap * both, (min_overlap - 1) * area),
    )
    radii = []
    for case, (a, b, c) in enumerate(quadratics):
        root = (b.square() - 4 * a * c).clamp(min=0).sqrt()
        if rule is RadiusRule.LEGACY:
            radii.append((b + root) / 2)
        else:
            radii.append((b + root if case == 2 else b - root) / (2 * a))
    return torch.stack(radii).amin(0)


@dataclass(frozen=True)
class GaussianRule:
    """How large the Gaussian around a point is; the defaults are the points detector's."""

    radius_rule: RadiusRule | str = RadiusRule.LEGACY
    min_overlap: float = 0.7  # that the radius guarantees (published: points 0.7, corners 0.3)
    fixed_radius: int = 2  # cells, of `RadiusRule.FIXED`
    round_up: bool = True  # of the size, to whole cells, first (published but for 3-D boxes)

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius_rule", RadiusRule(self.radius_rule))
        if not 0 < self.min_overlap <= 1:
            raise ValueError(f"min_overlap must be in (0, 1], got {self.min_overlap}")
        check_at_least("fixed_radius", self.fixed_radius, 0)

    def radius(self, size: Tensor) -> Tensor:
        """Whole radii (P,) int64 of sizes (P, 2) as (width, height): truncated, at least 0."""
        if self.radius_rule is RadiusRule.FIXED:
            return torch.full_like(size[:, 0], self.fixed_radius, dtype=torch.int64)
        if self.radius_rule is RadiusRule.NONE:
            return torch.zeros_like(size[:, 0], dtype=torch.int64)
        width, height = (size.ceil() if self.round_up else size).unbind(1)
        rule = RadiusRule(self.radius_rule)
        return overlap_radius(height, width, self.min_overlap, rule).clamp(min=0).long()


def blank_map(like: Tensor, num_images: int, channels: int, height: int, width: int) -> Tensor:
    """Zeros (N, C, h, w) to draw on, channels-last as the maps that they are compared with."""
    return like.new_zeros((num_images, height, width, channels)).permute(0, 3, 1, 2)


@torch.no_grad()
def draw_gaussians(
    heatmap: Tensor,
    peaks: PeakIndex,
    classes: Tensor,
    radius: Tensor,
    sigma_divisor: float | Tensor = 6.0,
) -> Tensor:
    """A copy of `heatmap` with the objects' Gaussians drawn, the maximum where they meet.

    It has the layout in memory of `heatmap`, contiguous or channels-last.

    The window has side 2 * radius + 1 and is cut at the border; sigma = side / `sigma_divisor` (6
    in all three published codes, 5 for the triplet's centers). The value at the point itself is
    exactly 1.

    Args:
        heatmap: (N, C, h, w).
        peaks: the P cells.
        classes: (P,) int64 channel of each object.
        radius: (P,) int64.
        sigma_divisor: see above; of all objects, or (P,).
    """
    return draw_gaussians_(heatmap.clone(), peaks, classes, radius, sigma_divisor)


@torch.no_grad()
def draw_gaussians_(
    heatmap: Tensor,
    peaks: PeakIndex,
    classes: Tensor,
    radius: Tensor,
    sigma_divisor: float | Tensor = 6.0,
) -> Tensor:
    """As `draw_gaussians`, on the heatmap itself, which is returned; new memory is slow."""
    _, index, value = _drawn_cells(heatmap, peaks, classes, radius, sigma_divisor)
    heatmap.as_strided((heatmap.numel(),), (1,)).scatter_reduce_(0, index, value, "amax")
    return heatmap


@torch.no_grad()
def dense_cells(blank: Tensor, peaks: PeakIndex, channel: Tensor, radius: Tensor) -> LearnedCells:
    """All cells of Gaussians, each of the object with the highest there (the last, as published).

    `blank` (N, C, h, w) is empty; each `channel` (P,) has its own cells. See `draw_gaussians`.
    """
    blank = blank.contiguous()
    owner, index, value = _drawn_cells(blank, peaks, channel, radius)
    weight = blank.flatten().scatter_reduce(0, index, value, "amax")
    best = value == weight[index]
    winner = torch.full_like(weight, -1, dtype=torch.int64)
    winner = winner.scatter_reduce(0, index[best], owner[best], "amax")
    cells = torch.nonzero(winner >= 0).flatten()
    image, _, y, x = torch.unravel_index(cells, blank.shape)
    return LearnedCells(PeakIndex(image=image, y=y, x=x), winner[cells], weight[cells])


def _drawn_cells(
    heatmap: Tensor, peaks: PeakIndex, classes: Tensor, radius: Tensor, divisor: float | Tensor = 6
) -> tuple[Tensor, Tensor, Tensor]:
    """Object, place in the heatmap's memory and value of every cell of every Gaussian."""
    map_height, map_width = heatmap.shape[2:]
    # All windows one behind the other: `owner` is the object of each cell, (dx, dy) its place in
    # the window.
    side = 2 * radius + 1
    cells = side.square()
    owner = torch.repeat_interleave(torch.arange(len(cells), device=cells.device), cells)
    place = torch.arange(len(owner), device=cells.device) - (cells.cumsum(0) - cells)[owner]
    dy = torch.div(place, side[owner], rounding_mode="floor") - radius[owner]
    dx = place % side[owner] - radius[owner]

    sigma = side.to(heatmap.dtype) / divisor
    value = torch.exp(-(dx.square() + dy.square()) / (2 * sigma.square())[owner])
    y, x = peaks.y[owner] + dy, peaks.x[owner] + dx
    inside = (y >= 0) & (y < map_height) & (x >= 0) & (x < map_width)
    steps = heatmap.stride()
    index = (peaks.image * steps[0] + classes * steps[1])[owner] + y * steps[2] + x * steps[3]
    return owner[inside], index[inside], value[inside].to(heatmap.dtype)
