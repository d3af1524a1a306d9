"""Boxes -> targets of a detector that sees objects as centers ("Objects as Points", section 3).

P objects of the batch, N images, C classes, (h, w) output map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..structures.targets import CenterTargets
from .clipped_objects import clipped_objects, keypoint_targets
from .gaussian import GaussianRule
from .ignored import with_ignored


@torch.no_grad()
def center_targets(
    boxes: Tensor,
    classes: Tensor,
    image: Tensor,
    *,
    num_images: int,
    num_classes: int,
    map_size: tuple[int, int],
    gaussian: GaussianRule,
    regression_mask: Tensor | None = None,
    ignored: Tensor | None = None,
    ignored_region: str = "center",
    border: str = "last_cell",
    size_bounds: Sequence[float] = (),
) -> CenterTargets:
    """Heatmap, cell, offset and size of every object.

    As published, boxes are clipped to the map *before* center and size are taken (the limit is the
    last cell, h - 1 and w - 1, so the center of a truncated object moves; with `border` "map" it is
    h and w, so that objects at the right and lower border keep their last cell), and the radius is
    that of the size rounded up. Objects without area on the map are left out; `kept` says which
    stayed. Two objects of one class on one cell are both kept.

    Args:
        boxes: (P, 4) x1, y1, x2, y2 on the output map, cells.
        classes: (P,) int64 in 0..C-1.
        image: (P,) int64 in 0..N-1.
        num_images: N.
        num_classes: C.
        map_size: (h, w).
        gaussian: rule of the radius.
        regression_mask: (P,) bool, see `CenterTargets.regression_mask`; None: all.
        ignored: (P,) bool, objects that only weaken the heatmap, see `with_ignored`; those may have
            class -1. None: no object.
        ignored_region: see `with_ignored`.
        border: "last_cell" or "map".
        size_bounds: ascending roots of the area of what the map has of an object, cells, between
            the several sizes of a point, which have a heatmap of each class each.
    """
    height, width = map_size
    found = torch.arange(len(boxes), device=boxes.device)
    if ignored is not None:
        found = found[~ignored]
    limit: tuple[float, float] = (width - 1, height - 1)
    if border == "map":  # a center rounded to its very end would be in no cell
        limit = (width * (1 - 1e-6), height * (1 - 1e-6))
    sizes = len(size_bounds) + 1
    if size_bounds:
        visible = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height] * 2))
        side = (visible[:, 2:] - visible[:, :2]).prod(1).clamp(min=0).sqrt()
        slot = torch.bucketize(side, side.new_tensor(size_bounds))
        classes = torch.where(classes < 0, classes, classes * sizes + slot)
    objects = clipped_objects(
        boxes[found], classes[found], image[found], limit=limit, gaussian=gaussian
    )
    kept = found[objects.kept]
    if regression_mask is None:
        regression_mask = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    shape = (num_images, num_classes * sizes, height, width)
    center = keypoint_targets(objects, objects.center, shape)
    heatmap, hidden = center.heatmap, None
    if ignored is not None:
        rows = (boxes[ignored], classes[ignored], image[ignored])
        heatmap = with_ignored(heatmap, *rows, region=ignored_region, gaussian=gaussian)
        hidden = heatmap != center.heatmap
    return CenterTargets(
        heatmap=heatmap,
        peaks=center.peaks,
        classes=objects.classes // sizes,
        slot=objects.classes % sizes if size_bounds else None,
        offset=center.offset,
        size=objects.size,
        radius=objects.radius,
        kept=kept,
        regression_mask=regression_mask[kept],
        hidden=hidden,
    )
