"""Scenes of stick figures: several, some cut by the border, some covered, among other shapes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .figures import FIGURE_SKELETON, Figure, draw_figure
from .painters import Layer, draw_layer
from .scenes import Scene, SceneObject, clipped_box, visible_part

_TRIES = 40
_SHAPES = ("disk", "ring", "square", "diamond", "triangle")


@dataclass(frozen=True)
class FigureSettings:
    """The shares and sizes of the generated figures, in pixels of a square picture."""

    side: int = 128
    classes: tuple[str, ...] = ("figure",)
    heights: tuple[float, float] = (36.0, 92.0)  # standing straight
    figures_per_image: tuple[int, int] = (1, 4)  # of images that have any
    max_lean: float = math.radians(30)
    empty_share: float = 0.06  # of images: other shapes only
    truncated_share: float = 0.15  # of figures that may reach over the border
    occluded_share: float = 0.4  # of figures that something is laid over
    least_visible: float = 0.7  # share of a figure that must not be covered
    least_joints: int = 6  # of a figure, visible
    max_overlap: float = 0.25  # intersection over union of two figures' boxes
    max_distractors: int = 3
    max_background_bars: int = 2


def make_figure_scenes(
    settings: FigureSettings, images: int, seed: int
) -> Iterator[tuple[Scene, np.random.RandomState]]:
    """Yield scenes in order, each with the random state for its colours."""
    random = np.random.RandomState([seed, 0])
    empty = set(random.permutation(images)[: round(settings.empty_share * images)].tolist())
    for index in range(images):
        composer = FigureComposer(settings, random)
        composer.add_background()
        if index not in empty:
            low, high = settings.figures_per_image
            composer.add_figures(random.randint(low, high + 1))
        yield composer.finish(), np.random.RandomState([seed, 1, index])


@dataclass
class _Placed:
    """A figure in a scene and what lies over it so far."""

    figure: Figure
    mask: np.ndarray  # (side, side) bool, of the part in the picture
    hidden: np.ndarray  # (side, side) bool, covered by later things
    inside: np.ndarray  # (J,) bool: joint is in the picture
    item: SceneObject


class FigureComposer:
    """Places figures and other shapes by trial; `random` is the only source of chance."""

    def __init__(self, settings: FigureSettings, random: np.random.RandomState):
        self.settings = settings
        self.random = random
        self.scene = Scene()
        self._placed: list[_Placed] = []

    def add_background(self) -> None:
        """Lay bars and shapes that mean nothing under everything."""
        side = self.settings.side
        for _ in range(self.random.randint(self.settings.max_background_bars + 1)):
            size = self.random.uniform(0.3, 0.9) * side
            layer = self._bar(size, self.random.uniform(0, side, size=2))
            self.scene.objects.append(SceneObject("bar", layer, role="background"))
        for _ in range(self.random.randint(self.settings.max_distractors + 1)):
            size = self.random.uniform(8, 30)
            kind, layer = self._shape(size, self.random.uniform(0, side, size=2))
            self.scene.objects.append(SceneObject(kind, layer, role="distractor"))

    def add_figures(self, count: int) -> None:
        """Place up to `count` figures, at least one, each perhaps with something over it."""
        for number in range(count):
            if not self._add_figure() and number == 0:
                raise RuntimeError("the settings of the generated figures leave no place for one")
            if self.random.uniform() < self.settings.occluded_share:
                self._cover(self._placed[-1])

    def _add_figure(self) -> bool:
        settings, side = self.settings, self.settings.side
        for _ in range(_TRIES):
            height = self.random.uniform(*settings.heights)
            is_front = self.random.uniform() < 0.5
            figure = draw_figure(height, is_front, settings.max_lean, self.random)
            x1, y1, x2, y2 = figure.body.box
            reach = 0.3 if self.random.uniform() < settings.truncated_share else 0.0
            low = -np.array([x1, y1]) - reach * np.array([x2 - x1, y2 - y1])
            high = side - np.array([x2, y2]) + reach * np.array([x2 - x1, y2 - y1])
            if (low >= high).any():
                continue
            x, y = self.random.uniform(low, high)
            figure = figure.moved(math.ceil(x), math.ceil(y))
            if self._fits(figure):
                self._push(figure)
                return True
        return False

    def _fits(self, figure: Figure) -> bool:
        box, limit = figure.body.box, self.settings.max_overlap
        if any(_overlap(box, placed.figure.body.box) > limit for placed in self._placed):
            return False
        inside = _inside(figure.joints, self.settings.side)
        return inside.sum() >= self.settings.least_joints and self._leaves_enough(
            self._mask(figure.body)
        )

    def _leaves_enough(self, mask: np.ndarray) -> bool:
        """Whether all figures stay recognisable under a further layer."""
        settings = self.settings
        for placed in self._placed:
            hidden = placed.hidden | mask
            if _share_visible(placed.mask, hidden) < settings.least_visible:
                return False
            if self._visibilities(placed, hidden).tolist().count(2) < settings.least_joints:
                return False
        return True

    def _push(self, figure: Figure) -> None:
        mask = self._mask(figure.body)
        for placed in self._placed:
            placed.hidden |= mask
        item = SceneObject("figure", figure.body)
        self.scene.objects.append(item)
        if figure.marks:
            self.scene.objects.append(SceneObject("marks", figure.marks, role="part"))
        inside = _inside(figure.joints, self.settings.side)
        self._placed.append(_Placed(figure, mask, np.zeros_like(mask), inside, item))

    def _cover(self, placed: _Placed) -> None:
        """Lay a bar or another shape over one of the figure's joints."""
        x1, y1, x2, y2 = placed.figure.body.box
        size = max(x2 - x1, y2 - y1)
        for _ in range(_TRIES):
            joint = placed.figure.joints[self.random.randint(len(placed.figure.joints))]
            center = joint + self.random.uniform(-0.08, 0.08, size=2) * size
            if self.random.uniform() < 0.5:
                kind, layer = "bar", self._bar(size * self.random.uniform(0.5, 1.0), center)
            else:
                kind, layer = self._shape(size * self.random.uniform(0.2, 0.4), center)
            mask = self._mask(layer)
            if mask.any() and self._leaves_enough(mask):
                self.scene.objects.append(SceneObject(kind, layer, role="occluder"))
                for other in self._placed:
                    other.hidden |= mask
                return

    def _bar(self, length: float, center: np.ndarray) -> Layer:
        angle = self.random.uniform(0, math.pi)
        along, across = abs(math.cos(angle)), abs(math.sin(angle))
        size = (length * (along + 0.15 * across), length * (across + 0.15 * along))
        return draw_layer("bar", angle, size, tuple(center))

    def _shape(self, size: float, center: np.ndarray) -> tuple[str, Layer]:
        kind = _SHAPES[self.random.randint(len(_SHAPES))]
        tilt = self.random.uniform(-0.3, 0.3)
        return kind, draw_layer(kind, tilt, (size, size), tuple(center))

    def _mask(self, layer: Layer) -> np.ndarray:
        canvas = np.zeros((self.settings.side, self.settings.side), dtype=bool)
        rows, columns, part = visible_part(layer, self.settings.side)
        canvas[rows, columns] = part > 0.5
        return canvas

    def _visibilities(self, placed: _Placed, hidden: np.ndarray) -> np.ndarray:
        """Return COCO's flags (J,): 0 outside the picture, 1 covered, 2 visible."""
        limit = self.settings.side - 1
        column, row = np.clip(np.floor(placed.figure.joints), 0, limit).astype(int).T
        return np.where(placed.inside, np.where(hidden[row, column], 1, 2), 0)

    def finish(self) -> Scene:
        """Write what is to be annotated into the figures' records and return the scene."""
        for placed in self._placed:
            flags = self._visibilities(placed, placed.hidden)
            # COCO counts joints from the middle of the first pixel, pictures here from its edge.
            points = np.where(flags[:, None] > 0, np.round(placed.figure.joints - 0.5, 2), 0)
            x1, y1, x2, y2 = clipped_box(placed.figure.body.box, self.settings.side)
            placed.item.visible = _share_visible(placed.mask, placed.hidden)
            placed.item.extra = {
                "keypoints": [
                    number
                    for (x, y), flag in zip(points.tolist(), flags.tolist(), strict=True)
                    for number in (x, y, flag)
                ],
                "num_keypoints": int((flags > 0).sum()),
                "area": round(0.5 * (x2 - x1) * (y2 - y1), 3),  # scale of OKS
                "front": placed.figure.is_front,
            }
        return self.scene


def figure_category() -> dict:
    """Return the fields of the figures' category in a COCO JSON, without id and name."""
    skeleton = FIGURE_SKELETON
    return {
        "keypoints": list(skeleton.names),
        "skeleton": [[a + 1, b + 1] for a, b in skeleton.edge_indices()],
        "keypoint_flip_map": [list(pair) for pair in skeleton.flip_map],
        "keypoint_oks_sigmas": list(skeleton.oks_sigmas),
    }


def _inside(joints: np.ndarray, side: int) -> np.ndarray:
    # Whole picture in pixel indices, which the record counts in: [0, side - 1].
    return ((joints >= 0.5) & (joints <= side - 0.5)).all(axis=1)


def _share_visible(mask: np.ndarray, hidden: np.ndarray) -> float:
    return 1 - np.count_nonzero(mask & hidden) / max(1, np.count_nonzero(mask))


def _overlap(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    low = np.maximum(first[:2], second[:2])
    high = np.minimum(first[2:], second[2:])
    shared = np.prod(np.clip(high - low, 0, None))
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (first, second)]
    return float(shared / (sum(areas) - shared))
