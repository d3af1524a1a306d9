"""Stick figures: random poses, and how a pose looks.

A figure is drawn from the joints of `FIGURE_SKELETON`. It is seen from the front or from behind: in
front it has a face and a shirt of a second colour. Which hand is the left one follows from that
alone, as with people, so that a flipped image of a figure is another figure with left and right
exchanged: a colour of its own for the left hand would make flipped pictures contradict the others.

Units are pixels with edges of pixel k at k and k + 1, x to the right, y down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ....structures.skeleton import Skeleton
from .painters import Layer

_PAIRS = tuple((f"left_{part}", f"right_{part}") for part in ("elbow", "hand", "knee", "foot"))
_LIMBS = tuple(
    pair
    for side in ("left", "right")
    for pair in (
        ("neck", f"{side}_elbow"),
        (f"{side}_elbow", f"{side}_hand"),
        ("pelvis", f"{side}_knee"),
        (f"{side}_knee", f"{side}_foot"),
    )
)
FIGURE_SKELETON = Skeleton(
    names=("head", "neck", "pelvis", *(name for pair in _PAIRS for name in pair)),
    flip_map=_PAIRS,
    edges=(("head", "neck"), ("neck", "pelvis"), *_LIMBS),
    oks_sigmas=(0.05,) * 11,
    source="generated figures",
)

# Lengths in torsos (neck to pelvis).
_HEAD, _HEAD_RADIUS = 0.5, 0.32  # head's middle above the neck
_SHOULDER, _HIP = 0.34, 0.2  # half widths
_ARM, _LEG = 0.6, 0.65  # of each half of a limb
# Angles of limbs, radians: from straight down outwards, and of the outer half from the inner one.
_SHOULDER_TURN, _ELBOW_TURN = (-0.25, 2.8), (-1.7, 1.7)
_HIP_TURN, _KNEE_TURN = (-0.2, 1.0), (-1.2, 0.5)
_TORSOS_HIGH = _LEG * 2 + 1 + _HEAD + _HEAD_RADIUS

_SUPERSAMPLING = 4  # mask samples per pixel and axis
_FRACTION_BITS = 4  # OpenCV's sub-sample positions


@dataclass(frozen=True)
class Figure:
    """One figure at its place; J joints in the order of `FIGURE_SKELETON`."""

    joints: np.ndarray  # (J, 2)
    body: Layer  # whole silhouette, with its tight box
    marks: Layer | None  # face and shirt, over the body; None from behind

    @property
    def is_front(self) -> bool:
        """Whether it faces the viewer."""
        return self.marks is not None

    def moved(self, x: int, y: int) -> Figure:
        """Return the same figure whole pixels to the right and down."""
        marks = self.marks.moved(x, y) if self.marks else None
        return Figure(self.joints + np.array([x, y]), self.body.moved(x, y), marks)


def draw_figure(
    height: float, is_front: bool, max_lean: float, random: np.random.RandomState
) -> Figure:
    """Draw a figure in a random pose, with its pelvis near the origin.

    Args:
        height: pixels from head to foot of one that stands straight.
        is_front: seen from the front.
        max_lean: the whole figure leans to a side by up to this angle, radians.
        random: the source of the pose.
    """
    torso = height / _TORSOS_HIGH
    left = 1 if is_front else -1  # the side of the picture that the figure's left is on
    points = {"pelvis": (0.0, 0.0), "neck": (0.0, -1.0), "head": (0.0, -1.0 - _HEAD)}
    for name, side in (("left", left), ("right", -left)):
        shoulder, hip = (side * _SHOULDER, -1.0), (side * _HIP, 0.0)
        upper, bend = random.uniform(*_SHOULDER_TURN), random.uniform(*_ELBOW_TURN)
        elbow, hand = _limb(shoulder, side, _ARM, upper, bend)
        upper, bend = random.uniform(*_HIP_TURN), random.uniform(*_KNEE_TURN)
        knee, foot = _limb(hip, side, _LEG, upper, bend)
        points |= {f"{name}_shoulder": shoulder, f"{name}_elbow": elbow, f"{name}_hand": hand}
        points |= {f"{name}_hip": hip, f"{name}_knee": knee, f"{name}_foot": foot}
    lean = random.uniform(-max_lean, max_lean)
    turn = np.array([[math.cos(lean), -math.sin(lean)], [math.sin(lean), math.cos(lean)]])
    shift = random.uniform(0, 1, size=2)
    placed = {name: torso * turn @ np.array(point) + shift for name, point in points.items()}
    thickness = max(1.8, torso * random.uniform(0.13, 0.2))
    body = _draw_body(placed, torso * _HEAD_RADIUS, thickness)
    joints = np.array([placed[name] for name in FIGURE_SKELETON.names])
    return Figure(joints, body, _draw_marks(placed, torso, body) if is_front else None)


def _limb(
    start: tuple[float, float], side: int, length: float, angle: float, bend: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return middle and end of a limb that hangs from `start`, on a side of the picture (1, -1)."""
    points = [start]
    for turn in (angle, angle + bend):
        x, y = points[-1]
        points.append((x + side * length * math.sin(turn), y + length * math.cos(turn)))
    return points[1], points[2]


def _draw_body(points: dict[str, np.ndarray], head_radius: float, thickness: float) -> Layer:
    lines = [
        [points[f"{side}_{name}"] for name in names]
        for side in ("left", "right")
        for names in (("shoulder", "elbow", "hand"), ("hip", "knee", "foot"))
    ]
    lines.append([points["neck"], points["head"]])
    torso = [points[name] for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]
    lines.append([*torso, torso[0]])
    ends = np.array([point for line in lines for point in line])
    low = np.minimum(ends.min(axis=0) - thickness / 2, points["head"] - head_radius)
    high = np.maximum(ends.max(axis=0) + thickness / 2, points["head"] + head_radius)
    pen = _Pen(low, high)
    pen.polygon(torso)
    for line in lines:
        pen.line(line, thickness)
    pen.disk(points["head"], head_radius)
    return pen.layer((*low, *high))


def _draw_marks(points: dict[str, np.ndarray], torso: float, body: Layer) -> Layer:
    """Face and shirt: a smaller disk on the head, a smaller torso on the torso."""
    corners = [
        points[name] for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")
    ]
    middle = np.mean(corners, axis=0)
    pen = _Pen(np.array(body.box[:2]), np.array(body.box[2:]))
    pen.polygon([middle + 0.8 * (corner - middle) for corner in corners])
    pen.disk(points["head"], 0.6 * torso * _HEAD_RADIUS)
    return pen.layer(body.box)


class _Pen:
    """Draws an anti-aliased mask over the pixels that a box (`low`, `high`) touches."""

    def __init__(self, low: np.ndarray, high: np.ndarray):
        self.corner = np.floor(low).astype(int)
        width, height = np.ceil(high).astype(int) - self.corner
        shape = (height * _SUPERSAMPLING, width * _SUPERSAMPLING)
        self.samples = np.zeros(shape, dtype=np.uint8)

    def _fixed(self, points: list[np.ndarray] | np.ndarray) -> np.ndarray:
        # OpenCV counts from the middle of a sample.
        samples = (np.asarray(points) - self.corner) * _SUPERSAMPLING - 0.5
        return np.round(samples * 2**_FRACTION_BITS).astype(np.int32)

    def polygon(self, corners: list[np.ndarray]) -> None:
        cv2.fillPoly(self.samples, [self._fixed(corners)], 255, shift=_FRACTION_BITS)

    def line(self, points: list[np.ndarray], thickness: float) -> None:
        """Draw a line with round ends and corners."""
        width = max(1, round(thickness * _SUPERSAMPLING))
        cv2.polylines(
            self.samples, [self._fixed(points)], False, 255, width, cv2.LINE_8, _FRACTION_BITS
        )

    def disk(self, center: np.ndarray, radius: float) -> None:
        x, y = self._fixed(center).tolist()
        size = round(radius * _SUPERSAMPLING * 2**_FRACTION_BITS)
        cv2.circle(self.samples, (x, y), size, 255, cv2.FILLED, cv2.LINE_8, _FRACTION_BITS)

    def layer(self, box: tuple[float, ...]) -> Layer:
        height, width = (side // _SUPERSAMPLING for side in self.samples.shape)
        alpha = cv2.resize(self.samples, (width, height), interpolation=cv2.INTER_AREA)
        left, top = self.corner.tolist()
        return Layer(alpha.astype(np.float32) / 255, left, top, tuple(float(v) for v in box))
