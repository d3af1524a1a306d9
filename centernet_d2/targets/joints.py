"""Joints of objects -> targets ("Objects as Points", section 4.2).

P objects of the batch with J joints each, N images, Q labelled joints, (h, w) output map.
"""

import torch
from torch import Tensor

from ..structures.targets import CenterTargets, JointTargets, PeakIndex
from .gaussian import blank_map, dense_cells, draw_gaussians_


@torch.no_grad()
def joint_targets(
    points: Tensor,
    labelled: Tensor,
    centers: CenterTargets,
    *,
    with_heatmap: bool = True,
    dense: bool = False,
) -> JointTargets:
    """Displacement, cell, offset and Gaussian of every labelled joint on the map.

    As published: covered joints (visibility 1) count as visible ones; a joint that is not labelled
    or lies off the map is no target of any kind, and its object's other joints are; a joint may lie
    outside its object's box. Displacements start from the *cell* of the center, so that the
    center's offset plays no part in them. The Gaussians have their object's radius.

    Args:
        points: (P, J, 2) x, y on the output map, cells; rows as in `centers.peaks`. What stands
            where `labelled` is False does not matter.
        labelled: (P, J) bool.
        centers: of the same objects.
        with_heatmap: draw the joint heatmap.
        dense: displacements of a joint are learned in all cells of the Gaussians of the centers
            that have it.
    """
    num_images, _, height, width = centers.heatmap.shape
    x, y = points.unbind(-1)
    # Comparisons with NaN are False, so joints without a place are left out too.
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    owner, joint = torch.nonzero(labelled & inside, as_tuple=True)
    point = points[owner, joint]
    cell = point.long()  # truncation; inside the map nothing is negative
    center = centers.peaks[owner]
    peaks = PeakIndex(image=centers.peaks.image[owner], y=cell[:, 1], x=cell[:, 0])
    shape = (num_images, points.shape[1], height, width)
    radius = centers.radius[owner]
    return JointTargets(
        owner=owner,
        joint=joint,
        displacement=point - center.cells,
        peaks=peaks,
        offset=point - cell,
        heatmap=draw_gaussians_(blank_map(points, *shape), peaks, joint, radius)
        if with_heatmap
        else None,
        dense=dense_cells(blank_map(points, *shape), center, joint, radius) if dense else None,
    )
