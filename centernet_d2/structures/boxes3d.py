"""Boxes in the camera frame: a detectron2 field, corners, projection, observation angles.

The camera frame is KITTI's: x right, y down, z forward, in metres. The location of a box is the
middle of its bottom face, its dimensions are (height, width, length), and a rotation about y of 0
has the length along +x; a quarter turn further it points to -z. `alpha`, the observation angle, is
that rotation seen along the ray to the object: what an image shows. A projection is a 3 x 4 matrix
to pixels of the frame that it belongs to (`cameras.py`). torch alone is needed here.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor

# Corners of a box of length, height and width 1, as published: the bottom face, then the top one.
_ALONG_LENGTH = (0.5, 0.5, -0.5, -0.5, 0.5, 0.5, -0.5, -0.5)
_ALONG_WIDTH = (0.5, -0.5, -0.5, 0.5, 0.5, -0.5, -0.5, 0.5)
_UPWARD = (0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0)


class Boxes3D:
    """N boxes in the camera frame, for `Instances` as `pred_boxes3d` and `gt_boxes3d`.

    Indexing, `cat` and `to` are what `Instances` asks of a field, so boxes live through
    `Instances.cat` and detectron2's `detector_postprocess`. That one scales what lies in the image
    plane, and nothing here does.

    Attributes:
        tensor: (N, 8) floating point: x, y, z of the bottom's middle, height, width, length,
            rotation_y, alpha; metres and radians.
    """

    def __init__(self, tensor: Tensor):
        if not isinstance(tensor, Tensor):
            tensor = torch.as_tensor(tensor, dtype=torch.float32)
        if not tensor.is_floating_point():
            tensor = tensor.float()
        if tensor.numel() == 0:
            tensor = tensor.reshape(-1, 8)
        if tensor.dim() != 2 or tensor.shape[1] != 8:
            raise ValueError(
                f"3-D boxes have the shape {tuple(tensor.shape)}, not (N, 8): x, y, z, height, "
                "width, length, rotation_y, alpha."
            )
        self.tensor = tensor

    @classmethod
    def from_parts(
        cls, location: Tensor, dimensions: Tensor, rotation_y: Tensor, alpha: Tensor
    ) -> Self:
        """Join location (N, 3), dimensions (N, 3), rotation_y (N,) and alpha (N,)."""
        return cls(torch.cat([location, dimensions, rotation_y[:, None], alpha[:, None]], dim=1))

    @property
    def location(self) -> Tensor:
        """(N, 3) x, y, z of the middle of the bottom face, metres."""
        return self.tensor[:, 0:3]

    @property
    def depth(self) -> Tensor:
        """(N,) z of the location, metres."""
        return self.tensor[:, 2]

    @property
    def dimensions(self) -> Tensor:
        """(N, 3) height, width, length, metres."""
        return self.tensor[:, 3:6]

    @property
    def rotation_y(self) -> Tensor:
        """(N,) rotation about y, radians."""
        return self.tensor[:, 6]

    @property
    def alpha(self) -> Tensor:
        """(N,) observation angle, radians."""
        return self.tensor[:, 7]

    def corners(self) -> Tensor:
        """(N, 8, 3) corners in the camera frame, in the published order.

        With l along the heading and w across it: (l/2, 0, w/2), (l/2, 0, -w/2), (-l/2, 0, -w/2),
        (-l/2, 0, w/2), turned by rotation_y and moved to the location, then the same four of the
        top face, at y - height.
        """
        new = self.tensor.new_tensor
        height, width, length = self.dimensions.unsqueeze(2).unbind(1)
        along, across, up = length * new(_ALONG_LENGTH), width * new(_ALONG_WIDTH), new(_UPWARD)
        cosine, sine = self.rotation_y.cos()[:, None], self.rotation_y.sin()[:, None]
        turned = [cosine * along + sine * across, -height * up, cosine * across - sine * along]
        return torch.stack(turned, dim=2) + self.location[:, None]

    def birds_eye(self) -> Tensor:
        """(N, 4, 2) the bottom face from above, as (x, z) in metres."""
        return self.corners()[:, :4, ::2]

    @property
    def device(self) -> torch.device:
        return self.tensor.device

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """As `Tensor.to`: another device or floating point type."""
        return type(self)(self.tensor.to(*args, **kwargs))

    def clone(self) -> Self:
        return type(self)(self.tensor.clone())

    @classmethod
    def cat(cls, boxes: Sequence[Self]) -> Self:
        if len(boxes) == 0:
            return cls(torch.zeros(0, 8))
        return cls(torch.cat([part.tensor for part in boxes]))

    def __getitem__(self, item: int | slice | Tensor) -> Self:
        """Boxes3D of the rows: an int (one box), a slice, or a mask or index tensor."""
        rows = self.tensor[item]
        return type(self)(rows[None] if isinstance(item, int) else rows)

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        """Yield rows of shape (8,), as detectron2's `Boxes` does."""
        yield from self.tensor

    def __repr__(self) -> str:
        return f"Boxes3D({self.tensor})"


def wrap_angle(angle: Tensor) -> Tensor:
    """The same direction in [-pi, pi), radians; a value inside stays as it is, bit by bit."""
    wrapped = angle - 2 * math.pi * torch.floor((angle + math.pi) / (2 * math.pi))
    # Rounding may end on the far side of the cut.
    wrapped = torch.where(wrapped < -math.pi, -math.pi, wrapped)
    return torch.where(wrapped >= math.pi, wrapped - 2 * math.pi, wrapped)


def project_points(points: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
    """Project points (..., 3) of the camera frame to pixels (..., 2), beside their depth (...).

    `projection` is (3, 4), or (N, 3, 4) for one per first index of `points`. The depth is that by
    which was divided: with KITTI's matrices z + projection[2, 3], 5 mm more than z. Where it is not
    positive the point lies behind the camera, and its pixels mean nothing.
    """
    projection = _beside(projection, points)
    scaled = (projection[..., :3] @ points.unsqueeze(-1)).squeeze(-1) + projection[..., 3]
    depth = scaled[..., 2]
    return scaled[..., :2] / depth.unsqueeze(-1), depth


def unproject(points: Tensor, depth: Tensor, projection: Tensor) -> Tensor:
    """Points (N, 3) of the camera frame that are seen at pixels; undoes `project_points`.

    Where the matrix has no skew this is `z = depth - P[2, 3]`, `x = (u depth - P[0, 3] - P[0, 2] z)
    / P[0, 0]` and y likewise, as published. The published models are trained on z itself as
    `depth`; what they give is 5 mm too near for that.

    Takes (N, 2) pixels (u, v), the third projected coordinate `depth` (N,) in metres, and the
    projection (3, 4) or (N, 3, 4) of that frame, whose left half must have an inverse.
    """
    projection = _beside(projection, points)
    scaled = torch.cat([points, torch.ones_like(points[..., :1])], dim=-1) * depth.unsqueeze(-1)
    first, second, third = projection[..., :3].unbind(-2)
    # The inverse by cross products of the rows: exact enough for a camera, and it can be exported.
    pairs = ((second, third), (third, first), (first, second))
    across = torch.stack([_cross(a, b) for a, b in pairs], dim=-1)
    determinant = (first * across[..., 0]).sum(-1, keepdim=True)
    return (across @ (scaled - projection[..., 3]).unsqueeze(-1)).squeeze(-1) / determinant


def _cross(first: Tensor, second: Tensor) -> Tensor:
    """`torch.linalg.cross`, which OpenVINO does not read."""
    (a, b, c), (x, y, z) = first.unbind(-1), second.unbind(-1)
    return torch.stack([b * z - c * y, c * x - a * z, a * y - b * x], dim=-1)


def alpha_to_rotation_y(alpha: Tensor, u: Tensor, projection: Tensor) -> Tensor:
    """rotation_y (N,) in [-pi, pi) of objects seen at column `u` under observation angle `alpha`.

    `u` (N,) are pixels in the frame of `projection`, (3, 4) or (N, 3, 4); published code takes the
    middle of the 2-D box.
    """
    ray = torch.atan2(u - projection[..., 0, 2], projection[..., 0, 0].expand_as(u))
    return wrap_angle(alpha + ray)


def rescaled_projection(projection: Tensor, matrix: Tensor) -> Tensor:
    """The projection (..., 3, 4) into an image that was warped, of the same type and device.

    `matrix` (2, 3) or (..., 2, 3) is the affine map of pixels (x, y, 1) before to (x, y) after.
    """
    matrix = torch.as_tensor(matrix, dtype=projection.dtype, device=projection.device)
    image_plane = matrix @ projection
    depth = projection[..., 2:, :].expand(*image_plane.shape[:-2], 1, 4)
    return torch.cat([image_plane, depth], dim=-2)


def _beside(projection: Tensor, points: Tensor) -> Tensor:
    """(N, 3, 4) with axes of length 1 for the middle axes of `points`."""
    if projection.dim() == 2:
        return projection
    return projection.view(-1, *[1] * (points.dim() - 2), 3, 4)
