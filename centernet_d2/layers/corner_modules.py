"""Pooling modules before the branches of corners and centers: (N, C, h, w) to (N, C', h, w).

Corner pooling module: CornerNet section 3.3, figure 7. Cascade corner pooling and center pooling:
triplet CenterNet section 3.2, in the order of its published code.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..checked_values import check_choice
from .blocks import ConvNormRelu, make_norm
from .directional_pool import DirectionalPool, pool_with

CORNERS = {"top_left": ("top", "left"), "bottom_right": ("bottom", "right")}
"""Corner -> directions of the pools along the columns and along the rows."""
ORDERS = ("inside_first", "boundary_first")


class _PoolingModule(nn.Module):
    """Two pooled branches, added, and a shortcut: what the three modules share.

    Args:
        in_channels: C.
        out_channels: C'.
        directions: of the pools in series along the columns, and of those along the rows.
        pool_channels: width of the pooled branches.
        pools: False leaves the pools out, at equal parameters.
        norm: of all convolutions, as detectron2 names it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        directions: Sequence[Sequence[str]],
        *,
        pool_channels: int = 128,
        pools: bool = True,
        norm: str = "BN",
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            ConvNormRelu(in_channels, pool_channels, norm=norm) for _ in range(2)
        )
        self.pools = nn.ModuleList(
            nn.Sequential(*map(DirectionalPool, series if pools else ())) for series in directions
        )
        self.merge = _conv_norm(pool_channels, out_channels, 3, norm)
        self.shortcut = _conv_norm(in_channels, out_channels, 1, norm)
        self.output = ConvNormRelu(out_channels, out_channels, norm=norm)

    def forward(self, features: Tensor) -> Tensor:
        """(N, in_channels, h, w) -> (N, out_channels, h, w)."""
        columns, rows = (self.pooled(k, features) for k in range(2))
        return self.output(torch.relu_(self.merge(columns + rows) + self.shortcut(features)))

    def pooled(self, branch: int, features: Tensor) -> Tensor:
        """One branch: 0 along the columns, 1 along the rows; (N, pool_channels, h, w)."""
        return self.pools[branch](self.branches[branch](features))


class CornerPooling(_PoolingModule):
    """Corner pooling: each cell sees the box edges that would start (or end) at it."""

    def __init__(
        self, in_channels: int, out_channels: int, *, corner: str = "top_left", **options: Any
    ) -> None:
        """Build the module of a corner, "top_left" or "bottom_right"; see `_PoolingModule`."""
        check_choice("corner", corner, CORNERS)
        directions = [[direction] for direction in CORNERS[corner]]
        super().__init__(in_channels, out_channels, directions, **options)


class CascadeCornerPooling(CornerPooling):
    """Corner pooling that also looks from the box's edges into its inside.

    "inside_first": before a branch is pooled along its edge, the maximum of a second branch across
    that edge, which is the other pool, is added to it and convolved, without norm and ReLU
    (published code). "boundary_first" (the paper's text): the branch is pooled along its edge, the
    second's maximum across the edge from where that one lies is added, and the sum is convolved.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        pool_channels: int = 128,
        norm: str = "BN",
        order: str = "inside_first",
        **options: Any,
    ) -> None:
        check_choice("order", order, ORDERS)
        options |= {"pool_channels": pool_channels, "norm": norm}
        super().__init__(in_channels, out_channels, **options)
        self.boundary_first = order == "boundary_first"
        self.look = nn.ModuleList(
            ConvNormRelu(in_channels, pool_channels, norm=norm) for _ in range(2)
        )
        self.look_merge = nn.ModuleList(
            nn.Conv2d(pool_channels, pool_channels, 3, padding=1, bias=False) for _ in range(2)
        )

    def pooled(self, branch: int, features: Tensor) -> Tensor:
        inside = self.pools[1 - branch](self.look[branch](features))
        edge = self.branches[branch](features)
        if not self.boundary_first:
            return self.pools[branch](self.look_merge[branch](edge + inside))
        for pool in self.pools[branch].children():  # one, or none
            edge, inside = pool_with(edge, inside, str(pool.direction))
        return self.look_merge[branch](edge + inside)


class CenterPooling(_PoolingModule):
    """Center pooling: each cell sees the largest values of its column and of its row."""

    def __init__(self, in_channels: int, out_channels: int, **options: Any) -> None:
        # Of two scans in series, so that of equal values the published one gets the gradient.
        directions = [["top", "bottom"], ["left", "right"]]
        super().__init__(in_channels, out_channels, directions, **options)


def _conv_norm(in_channels: int, out_channels: int, kernel_size: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=not norm),
        make_norm(norm, out_channels),
    )
