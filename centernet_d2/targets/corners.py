"""Boxes -> targets of detectors that see objects as pairs of corners (CornerNet section 3.2).

P objects of the batch, N images, C classes, (h, w) output map, (H, W) network frame.
"""

import torch
from torch import Tensor

from ..structures.targets import CornerTargets
from .clipped_objects import clipped_objects, keypoint_targets
from .gaussian import GaussianRule


@torch.no_grad()
def corner_targets(
    boxes: Tensor,
    classes: Tensor,
    image: Tensor,
    *,
    num_images: int,
    num_classes: int,
    map_size: tuple[int, int],
    frame_size: tuple[int, int],
    gaussian: GaussianRule,
    center_sigma_divisor: float | None = None,
    sigma_rule: str = "window",
) -> CornerTargets:
    """Heatmap, cell and offset of both corners of every object, and of its center where asked.

    As published, boxes are clipped to the network frame (the limit is its last pixel, H - 1 and W -
    1) before anything is taken from them, so the corner of a truncated object lies on the border
    and its center moves; the radius is that of the size rounded up, and the center's Gaussian has
    the same radius but a wider sigma. Objects without area in the frame are left out. Objects whose
    corners share a cell are all kept.

    Args:
        boxes: (P, 4) x1, y1, x2, y2 on the output map, cells.
        classes: (P,) int64 in 0..C-1.
        image: (P,) int64 in 0..N-1.
        num_images: N.
        num_classes: C.
        map_size: (h, w).
        frame_size: (H, W).
        gaussian: rule of the radius, of the center's Gaussian too.
        center_sigma_divisor: window side over sigma of the centers' Gaussians, see
            `draw_gaussians`; None: centers are no targets.
        sigma_rule: sigma is a part of the "window"'s side, 2 r + 1 (published), or of 2 r by
            "radius": at corners a third of the radius (CornerNet's text).
    """
    (frame_height, frame_width), (height, width) = frame_size, map_size
    objects = clipped_objects(
        boxes,
        classes,
        image,
        limit=((frame_width - 1) * width / frame_width, (frame_height - 1) * height / frame_height),
        gaussian=gaussian,
    )
    shape = (num_images, num_classes, height, width)
    center, side = None, 2 * objects.radius + 1  # where the radius is 0 the window is one cell
    divisor = side / (side - 1).clamp(min=1) if sigma_rule == "radius" else 1.0
    if center_sigma_divisor is not None:
        center = keypoint_targets(objects, objects.center, shape, center_sigma_divisor * divisor)
    return CornerTargets(
        top_left=keypoint_targets(objects, objects.top_left, shape, 6 * divisor),
        bottom_right=keypoint_targets(objects, objects.bottom_right, shape, 6 * divisor),
        center=center,
        image=objects.image,
        num_images=num_images,
    )
