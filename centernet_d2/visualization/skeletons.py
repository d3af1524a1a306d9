"""Stick drawings of joints: left, right and middle in their own colours, covered ones hollow."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..structures.skeleton import SIDE_COLORS, Skeleton, edge_side
from .canvas import BLACK, FRACTION_BITS, Color, draw_rimmed_lines, line_thickness, pixels


@dataclass(frozen=True)
class SkeletonDrawing:
    """What of a skeleton is drawn: limbs as pairs of joint indices, the side of each joint."""

    edges: tuple[tuple[int, int], ...] = ()
    sides: tuple[int, ...] = ()  # J: 0 middle, 1 and 2 the sides; missing ones count as middle
    names: tuple[str, ...] = ()  # J, of the joints

    @classmethod
    def of(cls, skeleton: Skeleton | None) -> SkeletonDrawing:
        """Take limbs and sides of a dataset's skeleton; without one, joints alone are drawn."""
        if skeleton is None:
            return cls()
        return cls(tuple(skeleton.edge_indices()), tuple(skeleton.sides()), tuple(skeleton.names))

    def color(self, joint: int, other: int | None = None) -> Color:
        sides = dict(enumerate(self.sides))
        first = sides.get(joint, 0)
        if other is not None:
            first = edge_side(first, sides.get(other, 0))
        red, green, blue = SIDE_COLORS[first]
        return blue, green, red


def draw_skeletons(
    image: np.ndarray,
    joints: np.ndarray,
    drawing: SkeletonDrawing | None = None,
    *,
    sure: np.ndarray | None = None,
    thickness: int | None = None,
) -> np.ndarray:
    """Draw limbs and joints on a copy of the image, the last figure on top.

    Args:
        image: (H, W, 3) uint8 BGR.
        joints: (P, J, 3) x, y in pixel indices, and visibility or score; one whose third value is
            0 or below is not drawn, nor are its limbs.
        drawing: limbs and sides; None: joints alone.
        sure: (P, J) bool, which joints are drawn filled, the others as rings; None: all.
        thickness: of limbs, pixels; None: by the image's size.
    """
    picture = np.ascontiguousarray(image).copy()
    drawing = drawing or SkeletonDrawing()
    thickness = max(1, line_thickness(picture) - 1) if thickness is None else thickness
    joints = np.asarray(joints, dtype=np.float64)
    sure = np.ones(joints.shape[:2], dtype=bool) if sure is None else np.asarray(sure, dtype=bool)
    radius = (1 + thickness) * 2**FRACTION_BITS
    for figure, filled in zip(joints, sure, strict=True):
        drawn = np.isfinite(figure).all(axis=1) & (figure[:, 2] > 0)
        points = np.where(drawn[:, None], figure[:, :2], 0)
        limbs = [(a, b) for a, b in drawing.edges if drawn[a] and drawn[b]]
        lines = [(points[[a, b]], drawing.color(a, b), thickness) for a, b in limbs]
        draw_rimmed_lines(picture, lines)
        centers = pixels(points, FRACTION_BITS)
        for joint in np.flatnonzero(drawn).tolist():
            where, rim = (picture, centers[joint]), radius + 2**FRACTION_BITS
            style = cv2.FILLED if filled[joint] else 1
            cv2.circle(*where, rim, BLACK, cv2.FILLED, cv2.LINE_AA, FRACTION_BITS)
            cv2.circle(*where, radius, drawing.color(joint), style, cv2.LINE_AA, FRACTION_BITS)
    return picture
