"""Stick drawings of joints: left, right and middle in their own colours, covered ones hollow."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..structures.skeleton import SIDE_COLORS, Skeleton, edge_side

BLACK = (0, 0, 0)
_BITS = 4  # OpenCV's sub-pixel positions: 1/16 pixel


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

    def color(self, joint: int, other: int | None = None) -> tuple[int, int, int]:
        """Return the colour (B, G, R) of a joint, or of the limb to another joint."""
        first = self.sides[joint] if joint < len(self.sides) else 0
        if other is not None:
            first = edge_side(first, self.sides[other] if other < len(self.sides) else 0)
        red, green, blue = SIDE_COLORS[first]
        return blue, green, red


def draw_skeletons(
    image: np.ndarray,
    joints: np.ndarray,
    drawing: SkeletonDrawing,
    *,
    sure: np.ndarray | None = None,
    thickness: int = 1,
) -> np.ndarray:
    """Draw limbs and joints on a copy of the image, the last figure on top.

    A joint with a third value of 0 or below is not drawn, nor are its limbs.

    Args:
        image: (H, W, 3) uint8 BGR.
        joints: (P, J, 3) x, y in pixel indices, and visibility or score. They may be anywhere.
        drawing: limbs and sides.
        sure: (P, J) bool, which joints are drawn filled; the others (covered, or of a low score)
            are rings. None: all filled.
        thickness: of limbs, pixels.
    """
    picture = np.ascontiguousarray(image).copy()
    joints = np.asarray(joints, dtype=np.float64)
    sure = np.ones(joints.shape[:2], dtype=bool) if sure is None else np.asarray(sure, dtype=bool)
    radius = round((1 + thickness) * 2**_BITS)
    for figure, filled in zip(joints, sure, strict=True):
        drawn = np.isfinite(figure).all(axis=1) & (figure[:, 2] > 0)
        # Far outside, cv2's integer coordinates would overflow.
        points = np.clip(np.where(drawn[:, None], figure[:, :2], 0), -15000, 15000)
        points = np.round(points * 2**_BITS).astype(int).tolist()
        limbs = [(a, b) for a, b in drawing.edges if drawn[a] and drawn[b]]
        for rim in (2, 0):  # a dark rim under all limbs, so that they show on any background
            for a, b in limbs:
                color = BLACK if rim else drawing.color(a, b)
                ends = (tuple(points[a]), tuple(points[b]))
                cv2.line(picture, *ends, color, thickness + rim, cv2.LINE_AA, _BITS)
        for joint in np.flatnonzero(drawn).tolist():
            center = tuple(points[joint])
            rim = radius + 2**_BITS
            cv2.circle(picture, center, rim, BLACK, cv2.FILLED, cv2.LINE_AA, _BITS)
            color = drawing.color(joint)
            style = cv2.FILLED if filled[joint] else 1
            cv2.circle(picture, center, radius, color, style, cv2.LINE_AA, _BITS)
    return picture
