"""Objects that are neither to be found nor false when found ("Objects as Points", KITTI).

P ignored objects of the batch, N images, C classes, (h, w) output map; lengths in cells of it.
"""

import torch
from torch import Tensor

from ..checked_values import check_choice
from ..structures.targets import PeakIndex
from .clipped_objects import clipped_objects
from .gaussian import GaussianRule, draw_gaussians

ALMOST_ONE = 0.9999
"""Published: the focal loss weighs it by (1 - 0.9999)^4 = 1e-16, and it is no positive."""
IGNORED_REGIONS = ("center", "box")


@torch.no_grad()
def with_ignored(
    heatmap: Tensor,
    boxes: Tensor,
    classes: Tensor,
    image: Tensor,
    *,
    region: str = "center",
    gaussian: GaussianRule,
) -> Tensor:
    """A copy of a target heatmap that does not punish what is seen at ignored objects.

    Published: an ignored object's Gaussian is drawn, and its own cell becomes 0.9999; with region
    "box" (`--rect_mask`) instead all cells of its box do. A cell that is a positive stays one
    (published: the later row of a label file wins, so that an ignored object on the very cell of
    another takes that one away).

    Args:
        heatmap: (N, C, h, w) in 0..1.
        boxes: (P, 4) x1, y1, x2, y2; cut at the map's last cells.
        classes: (P,) int64; -1 is ignored in all classes.
        image: (P,) int64 in 0..N-1.
        region: a name of `IGNORED_REGIONS`.
        gaussian: rule of the radius.
    """
    check_choice("region", region, IGNORED_REGIONS)
    _, num_classes, height, width = heatmap.shape
    rows, classes = _one_row_per_class(classes, num_classes)
    objects = clipped_objects(
        boxes[rows], classes, image[rows], limit=(width - 1, height - 1), gaussian=gaussian
    )
    positive = heatmap == 1
    if region == "box":
        inside = _cells_inside(objects.boxes, height, width)
        channel = objects.image * num_classes + objects.classes
        counts = heatmap.new_zeros(heatmap.shape[0] * num_classes, height, width)
        hidden = counts.index_add_(0, channel, inside.to(counts.dtype)).view_as(heatmap) > 0
        return torch.where(hidden & ~positive, ALMOST_ONE, heatmap)
    cell = objects.center.long()
    peaks = PeakIndex(image=objects.image, y=cell[:, 1], x=cell[:, 0])
    drawn = draw_gaussians(heatmap, peaks, objects.classes, objects.radius)
    drawn[peaks.image, objects.classes, peaks.y, peaks.x] = ALMOST_ONE
    return torch.where(positive, 1, drawn)


def _one_row_per_class(classes: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Rows (P',) and classes (P',) of objects, those of class -1 once for each class."""
    everywhere = torch.arange(num_classes, device=classes.device)
    of_class = (classes[:, None] == everywhere) | (classes[:, None] == -1)
    rows, expanded = torch.nonzero(of_class, as_tuple=True)
    return rows, expanded


def _cells_inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """(P, h, w) bool, the cells from that of the top-left corner to that of the bottom-right."""
    cell = boxes.long()
    x = torch.arange(width, device=boxes.device)
    y = torch.arange(height, device=boxes.device)
    columns = (x >= cell[:, :1]) & (x <= cell[:, 2:3])
    rows = (y >= cell[:, 1:2]) & (y <= cell[:, 3:])
    return rows[:, :, None] & columns[:, None, :]
