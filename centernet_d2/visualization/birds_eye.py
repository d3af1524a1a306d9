"""3-D boxes from above: a square of the ground, the camera in the middle of its bottom edge.

Boxes lie in the camera frame (x right, y down, z forward, metres); pictures are (H, W, 3) uint8,
channels B, G, R.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from ..structures.boxes3d import Boxes3D
from .detections import BLACK, FONT

Color = tuple[int, int, int]
"""(B, G, R)"""

FRACTION_BITS = 4  # OpenCV's sub-pixel positions: 1/16 pixel
FAR_PIXEL = 30000  # beyond it cv2's integer coordinates overflow


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
    field_of_view: tuple[float, float] | None = None,
) -> np.ndarray:
    """Draw boxes from above as (side, side, 3) uint8 BGR, with arcs every 10 m from the camera.

    The front edge is drawn thicker, as published, and a line leads from the middle to it.

    Args:
        groups: (boxes, colors, filled), drawn one over the other.
        frame: what is shown.
        field_of_view: x / z at the left and right border of the image, drawn as two rays.
    """
    frame = frame or BirdsEyeFrame()
    picture = np.full((frame.side, frame.side, 3), 235, dtype=np.uint8)
    _draw_ground(picture, frame, field_of_view)
    for boxes, colors, filled in groups:
        bottoms = as_array(boxes.birds_eye())
        for corners, color in zip(bottoms, colors, strict=True):
            if np.isfinite(corners).all() and np.ptp(corners, axis=0).max() > 0:
                _draw_from_above(picture, frame.pixels(corners), color, filled=filled)
    return picture


def _draw_ground(
    picture: np.ndarray, frame: BirdsEyeFrame, field_of_view: tuple[float, float] | None
) -> None:
    camera = np.array([0.0, 0.0])
    if field_of_view is not None:
        for slope in field_of_view:
            end = np.array([slope, 1.0]) * frame.extent
            _line(picture, frame.pixels(camera), frame.pixels(end), (205, 205, 205), 1)
    scale = 0.35 * max(1.0, frame.side / 384)
    center = tuple(int(value) for value in frame.pixels(camera))
    for metres in range(10, int(frame.extent), 10):
        radius = round(metres * frame.side / frame.extent)
        cv2.circle(picture, center, radius, (205, 205, 205), 1, cv2.LINE_AA)
        place = (center[0] + 2, frame.side - radius - 2)
        cv2.putText(picture, f"{metres} m", place, FONT, scale, (120, 120, 120), 1, cv2.LINE_AA)


def _draw_from_above(
    picture: np.ndarray, corners: np.ndarray, color: Color, *, filled: bool
) -> None:
    points = np.clip(corners, -FAR_PIXEL, FAR_PIXEL)
    fixed = np.round(points * 2**FRACTION_BITS).astype(np.int32)
    thin = max(1, picture.shape[0] // 300)
    if filled:
        cv2.fillPoly(picture, [fixed], color, cv2.LINE_AA, FRACTION_BITS)
    cv2.polylines(
        picture, [fixed], True, BLACK if filled else color, thin, cv2.LINE_AA, FRACTION_BITS
    )
    edge_color = BLACK if filled else color
    _line(picture, points[0], points[1], edge_color, 2 * thin)
    _line(picture, points.mean(axis=0), points[:2].mean(axis=0), edge_color, thin)


def _line(
    picture: np.ndarray, first: np.ndarray, second: np.ndarray, color: Color, width: int
) -> None:
    ends = np.clip(np.stack([first, second]), -FAR_PIXEL, FAR_PIXEL) * 2**FRACTION_BITS
    (x1, y1), (x2, y2) = np.round(ends).astype(int).tolist()
    cv2.line(picture, (x1, y1), (x2, y2), color, width, cv2.LINE_AA, FRACTION_BITS)


def beside_birds_eye(
    picture: np.ndarray,
    groups: Sequence[tuple[Boxes3D, Sequence[Color], bool]],
    projection: np.ndarray | torch.Tensor,
    *,
    extent: float = 64.0,
) -> np.ndarray:
    """Put the view from above (see `birds_eye_view`) to the right of a picture, equally high."""
    height, width = picture.shape[:2]
    matrix = as_array(projection)
    slopes = (np.array([0.0, width]) - matrix[0, 2]) / matrix[0, 0]
    frame = BirdsEyeFrame(extent=extent, side=height)
    above = birds_eye_view(groups, frame, field_of_view=(float(slopes[0]), float(slopes[1])))
    gap = np.full((height, 4, 3), 128, dtype=np.uint8)
    return np.concatenate([picture, gap, above], axis=1)


def as_array(values: np.ndarray | torch.Tensor) -> np.ndarray:
    """Return a tensor or array as a float64 array."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
