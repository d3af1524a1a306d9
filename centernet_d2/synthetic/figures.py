"""The world of stick figures: several, some cut by the border, some covered, among other shapes.

A figure is seen from the front or from behind: in front it has a face and a shirt of a second
colour. Which hand is the left one follows from that alone, as with people, so that a flipped image
of a figure is another figure with left and right exchanged: a colour of its own for the left hand
would make flipped pictures contradict the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..structures.skeleton import Skeleton
from .composer import Placed
from .layers import Box, Layer, Pen, clip_box, draw_shape
from .pictures import PictureComposer, Scene, SceneObject, chosen_images
from .settings import FigureSettings, ShapeSettings

_PAIRS = tuple((f"left_{part}", f"right_{part}") for part in ("elbow", "hand", "knee", "foot"))
SKELETON = Skeleton(
    names=("head", "neck", "pelvis", *(name for pair in _PAIRS for name in pair)),
    flip_map=_PAIRS,
    edges=(
        *(("head", "neck"), ("neck", "pelvis")),
        *(("neck", "left_elbow"), ("left_elbow", "left_hand")),
        *(("pelvis", "left_knee"), ("left_knee", "left_foot")),
        *(("neck", "right_elbow"), ("right_elbow", "right_hand")),
        *(("pelvis", "right_knee"), ("right_knee", "right_foot")),
    ),
    source="generated figures",
)
# Lengths in torsos (neck to pelvis), angles in radians.
_HEAD, _HEAD_RADIUS = 0.5, 0.32  # head's middle above the neck
# Joints of a limb, start of one on the right of the picture, length of each half; range of the
# angle from straight down outwards, and of the outer half's from the inner one's.
_ARM = (("shoulder", "elbow", "hand"), (0.34, -1.0), 0.6, (-0.25, 2.8), (-1.7, 1.7))
_LEG = (("hip", "knee", "foot"), (0.2, 0.0), 0.65, (-0.2, 1.0), (-1.2, 0.5))
_TORSOS_HIGH = _LEG[2] * 2 + 1 + _HEAD + _HEAD_RADIUS
_TORSO = ("left_shoulder", "right_shoulder", "right_hip", "left_hip")


@dataclass(eq=False, kw_only=True)
class Figure(SceneObject):
    """A figure: its layer is the silhouette; from the front, its marks are face and shirt."""

    joints: np.ndarray  # (J, 2) in the order of `SKELETON`

    def moved(self, x: int, y: int) -> Figure:
        layer, marks = self.layer.moved(x, y), self.marks and self.marks.moved(x, y)
        return replace(self, layer=layer, joints=self.joints + np.array([x, y]), marks=marks)


def figure_scenes(
    settings: FigureSettings, images: int, random: np.random.RandomState
) -> Iterator[Scene]:
    """Yield the scenes of a split in order."""
    empty = chosen_images(images, settings.empty_share, random)
    for index in range(images):
        composer = FigureComposer(settings, random)
        composer.add_background_bars()
        composer.add_distractors()
        if index not in empty:
            low, high = settings.figures_per_image
            composer.add_figures(random.randint(low, high + 1))
        yield composer.finish()


class FigureComposer(PictureComposer):
    """Places figures and other shapes so that every figure can be recognised."""

    def add_distractors(self) -> None:
        """Lay shapes that mean nothing under everything."""
        for _ in range(self.random.randint(self.settings.max_distractors + 1)):
            size = self.random.uniform(8, 30)
            item = self._shape(size, self.random.uniform(0, self.settings.side, size=2))
            self.scene.objects.append(replace(item, role="distractor"))

    def add_figures(self, count: int) -> None:
        """Place up to `count` figures, at least one, each perhaps with something over it."""
        for number in range(count):
            if not self.attempt(self._propose_figure) and number == 0:
                raise RuntimeError("the settings of the generated figures leave no place for one")
            if self.random.uniform() < self.settings.occluded_share:
                self._cover(self._figures()[-1].thing)

    def keeps_limits(self, entry: Placed) -> bool:
        """As `Composer.keeps_limits`; a figure also needs joints that are visible."""
        if not isinstance(entry.thing, Figure):
            return True
        enough = np.count_nonzero(self._visibilities(entry) == 2) >= self.settings.least_joints
        return enough and super().keeps_limits(entry)

    def finish(self) -> Scene:
        for entry in self._figures():
            entry.thing.extra = self._annotation(entry)
        return super().finish()

    def _figures(self) -> list[Placed]:
        return [entry for entry in self.placed if isinstance(entry.thing, Figure)]

    def _propose_figure(self) -> Placed | None:
        settings = self.settings
        height = self.random.uniform(*settings.heights)
        is_front = self.random.uniform() < 0.5
        figure = draw_figure(height, is_front, settings.max_lean, self.random)
        reach = 0.3 if self.random.uniform() < settings.truncated_share else 0.0
        box, size = np.array(figure.layer.box), figure.layer.size
        low, high = -box[:2] - reach * size, settings.side - box[2:] + reach * size
        if (low >= high).any():
            return None
        x, y = self.random.uniform(low, high)
        figure = figure.moved(math.ceil(x), math.ceil(y))
        others = [other.thing.layer.box for other in self._figures()]
        overlaps = [_overlap(figure.layer.box, other) for other in others]
        if max(overlaps, default=0) > settings.max_overlap:
            return None
        return self.place(figure, (settings.least_visible, 1.0))

    def _cover(self, figure: Figure) -> None:
        """Lay a bar or another shape over one of the figure's joints."""
        size = max(figure.layer.size)

        def propose() -> Placed | None:
            joint = figure.joints[self.random.randint(len(figure.joints))]
            center = joint + self.random.uniform(-0.08, 0.08, size=2) * size
            if self.random.uniform() < 0.5:
                item = SceneObject("bar", self.bar(size * self.random.uniform(0.5, 1.0), center))
            else:
                item = self._shape(size * self.random.uniform(0.2, 0.4), center)
            entry = self.place(replace(item, role="occluder"))
            return entry if entry.mask.any() else None

        self.attempt(propose)

    def _shape(self, size: float, center: np.ndarray) -> SceneObject:
        kinds = ShapeSettings.classes
        kind = kinds[self.random.randint(len(kinds))]
        tilt = self.random.uniform(-0.3, 0.3)
        return SceneObject(kind, draw_shape(kind, tilt, (size, size), center))

    def _visibilities(self, entry: Placed) -> np.ndarray:
        """Return COCO's flags (J,): 0 outside the picture, 1 covered, 2 visible."""
        joints, side = entry.thing.joints, self.settings.side
        # Whole picture in pixel indices, which the record counts in: [0, side - 1].
        inside = ((joints >= 0.5) & (joints <= side - 0.5)).all(axis=1)
        column, row = np.clip(np.floor(joints), 0, side - 1).astype(int).T
        return np.where(inside, np.where(self.hidden_mask(entry)[row, column], 1, 2), 0)

    def _annotation(self, entry: Placed) -> dict:
        figure, flags = entry.thing, self._visibilities(entry)[:, None]
        # COCO counts joints from the middle of the first pixel, pictures here from its edge.
        points = np.where(flags > 0, np.round(figure.joints - 0.5, 2), 0).tolist()
        rows = [[*point, *flag] for point, flag in zip(points, flags.tolist(), strict=True)]
        x1, y1, x2, y2 = clip_box(figure.layer.box, self.settings.side)
        return {
            "keypoints": [number for row in rows for number in row],
            "num_keypoints": int((flags > 0).sum()),
            "area": round(0.5 * (x2 - x1) * (y2 - y1), 3),  # scale of OKS
            "front": figure.marks is not None,
        }


def _overlap(first: Box, second: Box) -> float:
    """Intersection over union."""
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    shared = np.prod(np.clip(high - low, 0, None))
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (first, second)]
    return float(shared / (sum(areas) - shared))


def draw_figure(
    height: float, is_front: bool, max_lean: float, random: np.random.RandomState
) -> Figure:
    """Draw a figure in a random pose, with its pelvis near the origin.

    `height` is in pixels from head to foot of one that stands straight; the whole figure leans to a
    side by up to `max_lean` radians.
    """
    torso = height / _TORSOS_HIGH
    left = 1 if is_front else -1  # the side of the picture that the figure's left is on
    points = {"pelvis": (0.0, 0.0), "neck": (0.0, -1.0), "head": (0.0, -1.0 - _HEAD)}
    for name, side in (("left", left), ("right", -left)):
        for (first, *others), (x, y), length, turn, bend in (_ARM, _LEG):
            x, angle = side * x, random.uniform(*turn)
            points[f"{name}_{first}"] = (x, y)
            angles = (angle, angle + random.uniform(*bend))
            for part, total in zip(others, angles, strict=True):
                x, y = x + side * length * math.sin(total), y + length * math.cos(total)
                points[f"{name}_{part}"] = (x, y)
    lean = random.uniform(-max_lean, max_lean)
    turn = np.array([[math.cos(lean), -math.sin(lean)], [math.sin(lean), math.cos(lean)]])
    shift = random.uniform(0, 1, size=2)
    placed = {name: torso * turn @ np.array(point) + shift for name, point in points.items()}
    thickness = max(1.8, torso * random.uniform(0.13, 0.2))
    body = _draw_body(placed, torso * _HEAD_RADIUS, thickness)
    joints = np.array([placed[name] for name in SKELETON.names])
    marks = _draw_marks(placed, torso, body) if is_front else None
    return Figure("figure", body, joints=joints, marks=marks)


def _draw_body(points: dict[str, np.ndarray], head_radius: float, thickness: float) -> Layer:
    limbs = [(side, names) for side in ("left", "right") for names in (_ARM[0], _LEG[0])]
    lines = [[points[f"{side}_{name}"] for name in names] for side, names in limbs]
    torso = [points[name] for name in _TORSO]
    lines += [[points["neck"], points["head"]], [*torso, torso[0]]]
    ends = np.array([point for line in lines for point in line])
    low = np.minimum(ends.min(axis=0) - thickness / 2, points["head"] - head_radius)
    high = np.maximum(ends.max(axis=0) + thickness / 2, points["head"] + head_radius)
    pen = Pen(low, high)
    pen.polygon(torso)
    for line in lines:
        pen.line(line, thickness)
    pen.disk(points["head"], head_radius)
    return pen.layer()


def _draw_marks(points: dict[str, np.ndarray], torso: float, body: Layer) -> Layer:
    """Face and shirt: a smaller disk on the head, a smaller torso on the torso."""
    corners = [points[name] for name in _TORSO]
    middle = np.mean(corners, axis=0)
    pen = Pen(*np.array(body.box).reshape(2, 2))
    pen.polygon([middle + 0.8 * (corner - middle) for corner in corners])
    pen.disk(points["head"], 0.6 * torso * _HEAD_RADIUS)
    return pen.layer()
