"""Boxes -> targets of a detector that sees objects as centers ("Objects as Points", section 3).

P objects of the batch, N images, C classes, (h, w) output map.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..structures.targets import CenterTargets, PeakIndex
from .gaussian import RadiusRule, draw_gaussians, gaussian_radius


@torch.no_grad()
def center_targets(
    boxes: Tensor,
    classes: Tensor,
    image: Tensor,
    *,
    num_images: int,
    num_classes: int,
    map_size: tuple[int, int],
    radius_rule: RadiusRule = RadiusRule.LEGACY,
    min_overlap: float = 0.7,
    fixed_radius: int = 2,
) -> CenterTargets:
    """Heatmap, cell, offset and size of every object.

    As published, boxes are clipped to the map *before* center and size are taken (the limit is the
    last cell, h - 1 and w - 1, so the center of a truncated object moves), and the radius is that
    of the size rounded up. Objects without area on the map are left out; `kept` says which stayed.
    Two objects of one class on one cell are both kept.

    Args:
        boxes: (P, 4) x1, y1, x2, y2 on the output map, cells.
        classes: (P,) int64 in 0..C-1.
        image: (P,) int64 in 0..N-1.
        num_images: N.
        num_classes: C.
        map_size: (h, w).
        radius_rule: see `RadiusRule`.
        min_overlap: overlap that the radius guarantees.
        fixed_radius: radius of `RadiusRule.FIXED`.
    """
    height, width = map_size
    limit = boxes.new_tensor([width - 1, height - 1, width - 1, height - 1])
    clipped = torch.minimum(boxes.clamp(min=0), limit)
    size = clipped[:, 2:] - clipped[:, :2]
    kept = torch.nonzero((size > 0).all(1)).flatten()
    clipped, size, classes, image = clipped[kept], size[kept], classes[kept], image[kept]

    center = (clipped[:, :2] + clipped[:, 2:]) / 2
    cell = center.long()  # truncation; centers are not negative
    peaks = PeakIndex(image=image, y=cell[:, 1], x=cell[:, 0])
    radius = gaussian_radius(
        size[:, 1].ceil(),
        size[:, 0].ceil(),
        rule=radius_rule,
        min_overlap=min_overlap,
        fixed_radius=fixed_radius,
    )
    blank = boxes.new_zeros((num_images, num_classes, height, width))
    return CenterTargets(
        heatmap=draw_gaussians(blank, peaks, classes, radius),
        peaks=peaks,
        classes=classes,
        offset=center - cell,
        size=size,
        kept=kept,
    )
