"""What all targets start from: objects cut to the map, each with the radius of its Gaussian.

P objects of the batch, N images, C classes, (h, w) output map; lengths in cells of the output map.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..structures.targets import KeypointTargets, PeakIndex
from .gaussian import GaussianRule, blank_map, draw_gaussians_


@dataclass(frozen=True)
class ClippedObjects:
    """The P objects that have area on the map."""

    boxes: Tensor  # (P, 4) x1, y1, x2, y2, cut
    classes: Tensor  # (P,) int64
    image: Tensor  # (P,) int64, index into the batch
    radius: Tensor  # (P,) int64, of their Gaussians
    kept: Tensor  # (P,) int64, their rows among the objects given

    @property
    def top_left(self) -> Tensor:
        """(P, 2) as (x, y)."""
        return self.boxes[:, :2]

    @property
    def bottom_right(self) -> Tensor:
        """(P, 2) as (x, y)."""
        return self.boxes[:, 2:]

    @property
    def center(self) -> Tensor:
        """(P, 2) as (x, y), of what is left of the boxes."""
        return (self.top_left + self.bottom_right) / 2

    @property
    def size(self) -> Tensor:
        """(P, 2) as (width, height)."""
        return self.bottom_right - self.top_left


def clipped_objects(
    boxes: Tensor,
    classes: Tensor,
    image: Tensor,
    *,
    limit: tuple[float, float],
    gaussian: GaussianRule,
) -> ClippedObjects:
    """Cut boxes to 0..limit and leave out those without area.

    As published, all else is taken from the cut box, so the point of a truncated object moves, and
    the radius is that of what is left.

    Args:
        boxes: (P, 4) x1, y1, x2, y2.
        classes: (P,) int64 in 0..C-1.
        image: (P,) int64 in 0..N-1.
        limit: largest (x, y) that a box may have.
        gaussian: rule of the radius.
    """
    cut = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([*limit, *limit]))
    size = cut[:, 2:] - cut[:, :2]
    kept = torch.nonzero((size > 0).all(1)).flatten()
    return ClippedObjects(
        boxes=cut[kept],
        classes=classes[kept],
        image=image[kept],
        radius=gaussian.radius(size[kept]),
        kept=kept,
    )


def keypoint_targets(
    objects: ClippedObjects,
    points: Tensor,
    shape: tuple[int, int, int, int],
    sigma_divisor: float | Tensor = 6,
) -> KeypointTargets:
    """Cells, offsets and heatmap of one point of every object.

    Objects of one class on one cell are all kept; the heatmap has one positive there.

    Args:
        objects: P objects.
        points: (P, 2) as (x, y), on the map.
        shape: (N, C, h, w) of the heatmap.
        sigma_divisor: window side over sigma; see `draw_gaussians`.
    """
    cell = points.long()  # truncation; points are not negative
    peaks = PeakIndex(image=objects.image, y=cell[:, 1], x=cell[:, 0])
    blank = blank_map(points, *shape)
    return KeypointTargets(
        heatmap=draw_gaussians_(blank, peaks, objects.classes, objects.radius, sigma_divisor),
        peaks=peaks,
        offset=points - cell,
    )
