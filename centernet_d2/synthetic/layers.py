"""Anti-aliased masks of plain shapes, drawn with OpenCV.

Coordinates are pixels, x to the right, y down; pixel k reaches from k to k + 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

Box = tuple[float, float, float, float]  # x1, y1, x2, y2
Points = Sequence[np.ndarray] | np.ndarray  # (P, 2): x, y

_FRACTION_BITS = 4  # OpenCV's sub-sample positions: 1/16 sample
_RING_HOLE = 0.55  # radius of the ring's hole in radii of the ring


@dataclass(frozen=True)
class Layer:
    """An anti-aliased mask at its place on the canvas."""

    alpha: np.ndarray  # (h, w) float32, 0..1
    left: int  # column of alpha[:, 0]
    top: int  # row of alpha[0, :]
    box: Box  # tight around the outline, not clipped

    @property
    def size(self) -> np.ndarray:
        """(2,) width and height of the box."""
        return np.array([self.box[2] - self.box[0], self.box[3] - self.box[1]])

    def moved(self, x: int, y: int) -> Layer:
        """Return the same mask `x` columns to the right and `y` rows down."""
        x1, y1, x2, y2 = self.box
        box = (x1 + x, y1 + y, x2 + x, y2 + y)
        return replace(self, left=self.left + x, top=self.top + y, box=box)

    def inside(self, side: int) -> tuple[slice, slice, np.ndarray]:
        """Return rows, columns and mask of the part that lies inside a (side, side) picture."""
        top, left = max(self.top, 0), max(self.left, 0)
        part = self.alpha[top - self.top :, left - self.left :]
        part = part[: max(side - top, 0), : max(side - left, 0)]
        return slice(top, top + part.shape[0]), slice(left, left + part.shape[1]), part

    def mask(self, side: int) -> np.ndarray:
        """Return where it is more than half opaque: (side, side) bool."""
        canvas = np.zeros((side, side), dtype=bool)
        rows, columns, part = self.inside(side)
        canvas[rows, columns] = part > 0.5
        return canvas


class Pen:
    """Draws one layer with a box from `low` to `high` (x, y), `supersampling` samples a pixel."""

    def __init__(self, low: np.ndarray, high: np.ndarray, *, supersampling: int = 4):
        self.low, self.high = low, high
        self.supersampling = supersampling
        self.corner = np.floor(low).astype(int)
        width, height = np.ceil(high).astype(int) - self.corner
        self.samples = np.zeros((height * supersampling, width * supersampling), dtype=np.uint8)

    def _fixed(self, points: Points) -> np.ndarray:
        # OpenCV counts from the middle of a sample, contours from its edge.
        samples = (np.asarray(points) - self.corner) * self.supersampling - 0.5
        return np.round(samples * 2**_FRACTION_BITS).astype(np.int32)

    def polygon(self, *contours: Points) -> None:
        fixed = [self._fixed(points) for points in contours]
        cv2.fillPoly(self.samples, fixed, 255, shift=_FRACTION_BITS)

    def line(self, points: Sequence[np.ndarray], thickness: float) -> None:
        """Draw a line with round ends and corners."""
        width = max(1, round(thickness * self.supersampling))
        lines = [self._fixed(points)]
        cv2.polylines(self.samples, lines, False, 255, width, cv2.LINE_8, _FRACTION_BITS)

    def disk(self, center: np.ndarray, radius: float) -> None:
        x, y = self._fixed(center).tolist()
        size = round(radius * self.supersampling * 2**_FRACTION_BITS)
        cv2.circle(self.samples, (x, y), size, 255, cv2.FILLED, cv2.LINE_8, _FRACTION_BITS)

    def layer(self) -> Layer:
        height, width = (length // self.supersampling for length in self.samples.shape)
        alpha = cv2.resize(self.samples, (width, height), interpolation=cv2.INTER_AREA)
        box = tuple(float(value) for value in (*self.low, *self.high))
        return Layer(alpha.astype(np.float32) / 255, *self.corner.tolist(), box)


def _polygon(corners: int, angle: float, radius: float = 1.0) -> np.ndarray:
    angles = angle + 2 * math.pi * np.arange(corners) / corners
    return radius * np.stack([np.cos(angles), -np.sin(angles)], axis=1)


def _bar(angle: float) -> list[np.ndarray]:
    corners = np.array([[-1.0, -0.15], [1.0, -0.15], [1.0, 0.15], [-1.0, 0.15]])
    rotation = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return [corners @ rotation.T]


# Kind -> closed contours at an angle (radians, counter-clockwise on the screen), in about -1..1;
# contours inside contours are holes. To add a class, add a row and name it in the settings.
PAINTERS: dict[str, Callable[[float], list[np.ndarray]]] = {
    "disk": lambda angle: [_polygon(64, angle)],
    "ring": lambda angle: [_polygon(64, angle), _polygon(64, angle, _RING_HOLE)],
    "square": lambda angle: [_polygon(4, angle + math.pi / 4)],  # stands on a side
    "diamond": lambda angle: [_polygon(4, angle)],  # stands on a corner
    "triangle": lambda angle: [_polygon(3, angle + math.pi / 2)],
    "bar": _bar,  # never annotated: it covers objects or lies in the background
}


def draw_shape(
    kind: str, angle: float, size: tuple[float, float], center: Sequence[float]
) -> Layer:
    """Draw one of `PAINTERS` so that the tight box of its outline has this size and this centre."""
    contours = PAINTERS[kind](angle)
    outline = np.concatenate(contours)
    low, high = outline.min(axis=0), outline.max(axis=0)
    stretch = np.asarray(size) / (high - low)
    corner = np.asarray(center) - np.asarray(size) / 2  # left, top of the tight box
    pen = Pen(corner, corner + np.asarray(size), supersampling=8)
    pen.polygon(*((points - low) * stretch + corner for points in contours))
    return pen.layer()


def clip_box(box: Box, side: int) -> Box:
    """Clip a box to a (side, side) picture."""
    x1, y1, x2, y2 = (min(max(value, 0.0), float(side)) for value in box)
    return x1, y1, x2, y2
