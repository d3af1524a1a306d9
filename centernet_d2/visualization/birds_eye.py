"""3-D boxes from above: a square of the ground, the camera in the middle of its bottom edge.

Boxes lie in the camera frame (x right, y down, z forward, metres); pictures are (H, W, 3) uint8,
channels B, G, R.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from ..structures.boxes3d import Boxes3D
from .canvas import BLACK, FRACTION_BITS, Color, as_array, draw_line, pixels
from .text import draw_text

_GROUND = (205, 205, 205)  # of arcs and rays


@dataclass(frozen=True)
class BirdsEyeFrame:
    """What a view from above shows: the camera stands in the middle of its bottom edge."""

    extent: float = 64.0  # metres, side of the square (published)
    side: int = 384  # pixels (published)

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Map (..., 2) points (x, z) in metres to (..., 2) pixels (column, row)."""
        scale = self.side / self.extent
        column = (points[..., 0] + self.extent / 2) * scale
        return np.stack([column, self.side - points[..., 1] * scale], axis=-1)


def birds_eye_view(
    groups: Sequence[tuple[Boxes3D, Sequence[Color], bool]],
    frame: BirdsEyeFrame | None = None,
    *,
    field_of_view: Sequence[float] = (),
) -> np.ndarray:
    """Draw boxes from above as (side, side, 3) uint8 BGR, with arcs every 10 m from the camera.

    The front edge is thicker, as published, and a line leads to it. `groups` of (boxes, colors,
    filled) lie one over the other; `field_of_view` is x / z at both borders of the image.
    """
    frame = frame or BirdsEyeFrame()
    picture = np.full((frame.side, frame.side, 3), 235, dtype=np.uint8)
    _draw_ground(picture, frame, field_of_view)
    thin = max(1, frame.side // 300)
    for boxes, colors, filled in groups:
        for bottom, color in zip(as_array(boxes.birds_eye()), colors, strict=True):
            if not np.isfinite(bottom).all() or np.ptp(bottom, axis=0).max() <= 0:
                continue
            corners, edge = frame.pixels(bottom), BLACK if filled else color
            outline = [np.array(pixels(corners, FRACTION_BITS), dtype=np.int32)]
            if filled:
                cv2.fillPoly(picture, outline, color, cv2.LINE_AA, FRACTION_BITS)
            cv2.polylines(picture, outline, True, edge, thin, cv2.LINE_AA, FRACTION_BITS)
            draw_line(picture, corners[:2], edge, 2 * thin)
            front = np.stack([corners.mean(axis=0), corners[:2].mean(axis=0)])
            draw_line(picture, front, edge, thin)
    return picture


def _draw_ground(picture: np.ndarray, frame: BirdsEyeFrame, field_of_view: Sequence[float]) -> None:
    for slope in field_of_view:
        ray = np.array([[0.0, 0.0], [slope * frame.extent, frame.extent]])
        draw_line(picture, frame.pixels(ray), _GROUND, 1)
    scale = 0.35 * max(1.0, frame.side / 384)
    camera = tuple(int(value) for value in frame.pixels(np.zeros(2)))
    for metres in range(10, int(frame.extent), 10):
        radius = round(metres * frame.side / frame.extent)
        cv2.circle(picture, camera, radius, _GROUND, 1, cv2.LINE_AA)
        place = (camera[0] + 2, frame.side - radius - 2)
        draw_text(picture, f"{metres} m", place, scale, (120, 120, 120))


def above_of(
    picture: np.ndarray,
    groups: Sequence[tuple[Boxes3D, Sequence[Color], bool]],
    projection: np.ndarray | torch.Tensor,
) -> np.ndarray:
    """`birds_eye_view` of what a picture shows, as high as the picture."""
    height, width = picture.shape[:2]
    matrix = as_array(projection)
    slopes = (np.array([0.0, width]) - matrix[0, 2]) / matrix[0, 0]
    return birds_eye_view(groups, BirdsEyeFrame(side=height), field_of_view=slopes)


def beside(picture: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Put a view from above to the right of its picture, a gray line between."""
    gap = np.full((len(picture), 4, 3), 128, dtype=np.uint8)
    return np.concatenate([picture, gap, above], axis=1)
