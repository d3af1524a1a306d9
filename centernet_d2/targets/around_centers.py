"""Cells around the centers that learn what is regressed there, too (TTFNet; FCOS's sampling).

P objects of the batch, Q cells, (h, w) output map.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..structures.targets import CenterTargets, PeakIndex


@torch.no_grad()
def with_cells_around(centers: CenterTargets, radius: int) -> CenterTargets:
    """Centers with a row for each cell that learns offset and regressions, the heatmap as it is.

    A cell learns the object whose center is at most `radius` cells away along either axis, if it
    lies in the middle half of the object's box; of several objects the one whose center is nearest
    (of equally near ones all). So each center's own cell stays, and `offset` is that from a row's
    cell to its object's center: outside [0, 1) beside the center's cell.

    A peak that is found one cell beside the center, and the size read there, are then right, and
    sizes are learned faster: TTFNet (Liu et al. 2020), section 3.2; FCOS (Tian et al. 2019).

    Args:
        centers: P rows.
        radius: cells; 0 returns `centers`.
    """
    if radius == 0 or not len(centers.peaks):
        return centers
    height, width = centers.heatmap.shape[-2:]
    step = torch.arange(-radius, radius + 1, device=centers.size.device)
    dy, dx = (each.flatten() for each in torch.meshgrid(step, step, indexing="ij"))  # (S,)
    x, y = centers.peaks.x[:, None] + dx, centers.peaks.y[:, None] + dy  # (P, S)
    reach = centers.size[:, :, None] / 4
    usable = (dx.abs() <= reach[:, 0]) & (dy.abs() <= reach[:, 1])
    usable |= (dx == 0) & (dy == 0)
    usable &= (x >= 0) & (x < width) & (y >= 0) & (y < height)
    owner, place = torch.nonzero(usable, as_tuple=True)
    x, y, shift = x[owner, place], y[owner, place], torch.stack([dx, dy], dim=1)[place]
    nearest = _is_nearest(
        (centers.peaks.image[owner] * height + y) * width + x,
        shift.square().sum(1),
        centers.num_images * height * width,
    )
    owner = owner[nearest]
    return replace(
        centers,
        peaks=PeakIndex(image=centers.peaks.image[owner], y=y[nearest], x=x[nearest]),
        offset=centers.offset[owner] - shift[nearest],
        **{
            name: getattr(centers, name)[owner]
            for name in ("classes", "size", "radius", "kept", "regression_mask")
        },
    )


def _is_nearest(cell: Tensor, distance: Tensor, cells: int) -> Tensor:
    """Whether of all rows of its cell (Q,) a row has the least distance (Q,): (Q,) bool."""
    least = distance.new_zeros(cells)
    least.scatter_reduce_(0, cell, distance, "amin", include_self=False)
    return distance == least[cell]
