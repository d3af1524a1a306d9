"""Maps of depth, dimensions and orientation -> boxes in the camera frame.

"Objects as Points" section 4.1 and appendix B, with the published decoding.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..structures.boxes3d import Boxes3D, alpha_to_rotation_y, unproject, wrap_angle

DEPTH_EPSILON = 1e-6


def depth_from_output(output: Tensor) -> Tensor:
    """1 / (sigmoid(output) + 1e-6) - 1, metres (the paper's without 1e-6); 0 gives 1 m."""
    return 1 / (output.sigmoid() + DEPTH_EPSILON) - 1


def angle_from_output(output: Tensor) -> Tensor:
    """Observation angles (...) in [-pi, pi) from outputs (..., 8), see `orientation_loss`.

    Published: the bin whose raw logit "holds it" is the higher one, the second where both are
    equal. There the angle is not wrapped and lies in -3 pi / 2 .. 3 pi / 2.
    """
    first, second = output.unflatten(-1, (2, 4)).unbind(-2)
    in_first = torch.atan2(first[..., 2], first[..., 3]) - math.pi / 2
    in_second = torch.atan2(second[..., 2], second[..., 3]) + math.pi / 2
    return wrap_angle(torch.where(first[..., 1] > second[..., 1], in_first, in_second))


def boxes_from_outputs(
    centers: Tensor, depth: Tensor, dimensions: Tensor, orientation: Tensor, projection: Tensor
) -> Boxes3D:
    """Boxes of one image.

    As published, the middle of the 2-D box at `depth` is taken for the middle of the 3-D one, whose
    bottom is half its height lower.

    Args:
        centers: (K, 2) pixels of the image that `projection` belongs to.
        depth: (K,) metres, see `depth_from_output`.
        dimensions: (K, 3) height, width, length, metres.
        orientation: (K, 8), see `angle_from_output`.
        projection: (3, 4).
    """
    location = unproject(centers, depth, projection)
    location = location + F.pad(dimensions[:, :1] / 2, [1, 1])
    alpha = angle_from_output(orientation)
    rotation_y = alpha_to_rotation_y(alpha, centers[:, 0], projection)
    return Boxes3D.from_parts(location, dimensions, rotation_y, alpha)
