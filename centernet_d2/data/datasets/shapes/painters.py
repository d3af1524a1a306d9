"""How each class of the generated scenes looks: outlines and anti-aliased masks of them.

A painter is a function from the angle (radians, counter-clockwise on the screen) to a list of
closed contours with coordinates in about -1..1, x to the right, y down; contours inside contours
are holes. To add a class, add a painter to `PAINTERS` (or register one in code) and name it in the
scenes' settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Contours = list[np.ndarray]  # each (P, 2): x, y
Painter = Callable[[float], Contours]

SUPERSAMPLING = 8  # mask samples per pixel and axis
_FRACTION_BITS = 4  # OpenCV's sub-sample positions: 1/16 sample
RING_HOLE = 0.55  # radius of the ring's hole in radii of the ring


@dataclass(frozen=True)
class Layer:
    """An anti-aliased mask at its place on the canvas; pixel k reaches from k to k + 1."""

    alpha: np.ndarray  # (h, w) float32, 0..1
    left: int  # column of alpha[:, 0]
    top: int  # row of alpha[0, :]
    box: tuple[float, float, float, float]  # tight x1, y1, x2, y2 of the outline, not clipped

    def moved(self, x: int, y: int) -> Layer:
        """Return the same mask `x` columns to the right and `y` rows down."""
        x1, y1, x2, y2 = self.box
        return Layer(self.alpha, self.left + x, self.top + y, (x1 + x, y1 + y, x2 + x, y2 + y))


def _regular_polygon(corners: int, angle: float, radius: float = 1.0) -> np.ndarray:
    angles = angle + 2 * math.pi * np.arange(corners) / corners
    return radius * np.stack([np.cos(angles), -np.sin(angles)], axis=1)


def paint_disk(angle: float) -> Contours:
    """A filled circle."""
    return [_regular_polygon(64, angle)]


def paint_ring(angle: float) -> Contours:
    """A circle with a round hole: the disk's look-alike."""
    return [_regular_polygon(64, angle), _regular_polygon(64, angle, RING_HOLE)]


def paint_square(angle: float) -> Contours:
    """A square that stands on a side."""
    return [_regular_polygon(4, angle + math.pi / 4)]


def paint_diamond(angle: float) -> Contours:
    """A square that stands on a corner: the square's look-alike."""
    return [_regular_polygon(4, angle)]


def paint_triangle(angle: float) -> Contours:
    """A triangle with one corner at the top."""
    return [_regular_polygon(3, angle + math.pi / 2)]


def paint_bar(angle: float) -> Contours:
    """A long strip; never annotated, it covers objects or lies in the background."""
    length, thickness = 1.0, 0.15
    corners = np.array(
        [[-length, -thickness], [length, -thickness], [length, thickness], [-length, thickness]]
    )
    rotation = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return [corners @ rotation.T]


PAINTERS: dict[str, Painter] = {
    "disk": paint_disk,
    "ring": paint_ring,
    "square": paint_square,
    "diamond": paint_diamond,
    "triangle": paint_triangle,
    "bar": paint_bar,
}


def draw_layer(
    kind: str, angle: float, size: tuple[float, float], center: tuple[float, float]
) -> Layer:
    """Draw one object so that the tight box of its outline has this size and this centre.

    Args:
        kind: a key of `PAINTERS`.
        angle: radians.
        size: (width, height) of the tight box, pixels.
        center: (x, y) of the tight box, pixels, edges of pixel k at k and k + 1.
    """
    contours = PAINTERS[kind](angle)
    outline = np.concatenate(contours)
    low, high = outline.min(axis=0), outline.max(axis=0)
    stretch = np.asarray(size) / (high - low)
    corner = np.asarray(center) - np.asarray(size) / 2  # left, top of the tight box
    left, top = math.floor(corner[0]), math.floor(corner[1])
    width = math.ceil(corner[0] + size[0]) - left
    height = math.ceil(corner[1] + size[1]) - top
    placed = [(points - low) * stretch + corner - (left, top) for points in contours]
    box = (*corner, *(corner + np.asarray(size)))
    return Layer(_mask(placed, height, width), left, top, tuple(float(value) for value in box))


def _mask(contours: Contours, height: int, width: int) -> np.ndarray:
    samples = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), dtype=np.uint8)
    # OpenCV counts from the middle of a sample, contours from its edge.
    fixed_point = [
        np.round((points * SUPERSAMPLING - 0.5) * 2**_FRACTION_BITS).astype(np.int32)
        for points in contours
    ]
    cv2.fillPoly(samples, fixed_point, 255, shift=_FRACTION_BITS)
    alpha = cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA)
    return alpha.astype(np.float32) / 255
