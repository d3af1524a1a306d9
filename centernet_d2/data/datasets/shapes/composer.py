"""Composing one scene: placing wished objects so that each keeps its visible share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .painters import Layer, draw_layer
from .scenes import Scene, SceneObject, SceneSettings, Wish, clipped_box, visible_part

_TRIES = 40


class SceneComposer:
    """Places wished objects on a canvas by trial; `random` is the only source of chance."""

    def __init__(self, settings: SceneSettings, random: np.random.RandomState):
        self.settings = settings
        self.random = random
        self.scene = Scene()
        side = settings.side
        self._full: list[
            np.ndarray
        ] = []  # masks of the objects inside the picture, bool (side, side)
        self._hidden: list[np.ndarray] = []  # what later things cover of them
        self._limit: list[float] = []  # visible share that each must keep
        self._occupied = np.zeros(
            (side, side), dtype=bool
        )  # by crowd members, which nothing may cover

    def add_background(self) -> None:
        """Lay bars under everything, so that a bar says nothing about objects."""
        for _ in range(self.random.randint(self.settings.max_background_bars + 1)):
            size = self.random.uniform(0.3, 0.9) * self.settings.side
            layer = self._bar(size, self.random.uniform(0, self.settings.side, size=2))
            self.scene.objects.append(SceneObject("bar", layer, role="background"))

    def add_crowd(self, kind: str) -> None:
        """Fill a region with many small shapes of one class; the region is annotated as a crowd."""
        side = self.settings.side
        width, height = self.random.randint(34, 52, size=2)
        left = int(self.random.randint(2, side - width - 2))
        top = int(self.random.randint(2, side - height - 2))
        layers = []
        for y in range(0, height - 7, 8):
            for x in range(0, width - 7, 8):
                if self.random.uniform() < 0.15:  # gaps, as in a real crowd
                    continue
                size = self.random.uniform(6, 8)
                jitter = self.random.uniform(-0.8, 0.8, size=2)
                center = (left + x + 4 + jitter[0], top + y + 4 + jitter[1])
                layers.append(draw_layer(kind, self._tilt(), (size, size), center))
        for layer in layers:
            self.scene.objects.append(SceneObject(kind, layer, role="crowd"))
            self._occupied |= self._place(layer)
        boxes = np.array([layer.box for layer in layers])
        self.scene.crowd_box = (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))
        self.scene.crowd_kind = kind

    def add_objects(self, wishes: Sequence[Wish]) -> list[Wish]:
        """Place the wished objects; returns the wishes that found no place (or no cover)."""
        unmet: list[Wish] = []
        lower = [wish for wish in wishes if wish.covered]
        upper = [wish for wish in wishes if not wish.covered]
        for wish in lower:
            if not self._add_covered(wish, upper, unmet):
                unmet.append(wish)
        for wish in upper:
            if not self._add_free(wish):
                unmet.append(wish)
        return unmet

    def _add_covered(self, wish: Wish, upper: list[Wish], unmet: list[Wish]) -> bool:
        """Place an object and something over a part of it: one of the `upper` wishes, or a bar."""
        if not self._add_free(wish):
            return False
        index = len(self._full) - 1
        low, high = self.settings.covered_visibility
        self._limit[index] = low
        covers = [other for other in upper if other.size_range >= wish.size_range]
        if covers and self.random.uniform() < 0.5:
            other = covers[self.random.randint(len(covers))]
            upper.remove(other)
            if self._cover(index, high, other):
                self._limit[index] = self._share(index) - 0.02
                return True
            unmet.append(other)
        if self._cover(index, high, None):
            self._limit[index] = self._share(index) - 0.02
            return True
        self._remove_last()
        return False

    def _cover(self, index: int, high: float, wish: Wish | None) -> bool:
        """Lay an object (without a wish: a bar) over a part of object `index`."""
        x1, y1, x2, y2 = self._boxes()[index]
        center, size = np.array([(x1 + x2) / 2, (y1 + y2) / 2]), max(x2 - x1, y2 - y1)
        for _ in range(_TRIES):
            direction = self.random.uniform(0, 2 * math.pi)
            step = np.array([math.cos(direction), math.sin(direction)])
            if wish is None:
                length = size * self.random.uniform(1.0, 1.8)
                place = center + step * size * self.random.uniform(0.1, 0.45)
                layer = self._bar(length, place)
            else:
                layer = self._shape(wish)
                other = max(layer.box[2] - layer.box[0], layer.box[3] - layer.box[1])
                place = center + step * (size + other) / 2 * self.random.uniform(0.5, 0.95)
                layer = layer.moved(int(place[0]), int(place[1]))
                if not self._in_range(layer, wish.size_range):
                    continue
            if self._fits(layer) and self._share(index, self._place(layer)) <= high:
                self._push(layer, wish)
                return True
        return False

    def _add_free(self, wish: Wish) -> bool:
        """Place an object where it covers nothing that must stay visible."""
        layer = self._shape(wish)
        reach = self.random.uniform() < self.settings.truncated_share
        size = np.array([layer.box[2] - layer.box[0], layer.box[3] - layer.box[1]])
        margin = np.where(reach, 0.3, 0.5) * size
        for _ in range(_TRIES):
            place = self.random.uniform(margin, self.settings.side - margin)
            moved = layer.moved(int(place[0]), int(place[1]))
            if self._in_range(moved, wish.size_range) and self._fits(moved):
                self._push(moved, wish)
                return True
        return False

    def _shape(self, wish: Wish) -> Layer:
        """Draw a wished object around the origin, at a random fraction of a pixel."""
        low, high = self.settings.size_ranges[wish.size_range]
        # The smallest are rare, as they are hardest to tell apart: density grows with the size.
        largest = low + (high - low) * math.sqrt(self.random.uniform())
        smallest = max(low, largest / self.random.uniform(1, self.settings.max_aspect))
        size = (largest, smallest) if self.random.uniform() < 0.5 else (smallest, largest)
        return draw_layer(wish.kind, self._tilt(), size, tuple(self.random.uniform(0, 1, size=2)))

    def _bar(self, length: float, center: np.ndarray) -> Layer:
        angle = self.random.uniform(0, math.pi)
        along, across = abs(math.cos(angle)), abs(math.sin(angle))
        size = (length * (along + 0.15 * across), length * (across + 0.15 * along))
        return draw_layer("bar", angle, size, tuple(center))

    def _tilt(self) -> float:
        return self.random.uniform(-self.settings.max_tilt, self.settings.max_tilt)

    def _in_range(self, layer: Layer, size_range: int) -> bool:
        """Whether enough of the object is inside the picture, and its box in its size range."""
        low, high = self.settings.size_ranges[size_range]
        box = clipped_box(layer.box, self.settings.side)
        sides = (box[2] - box[0], box[3] - box[1])
        full = (layer.box[2] - layer.box[0]) * (layer.box[3] - layer.box[1])
        return min(sides) >= low and max(sides) <= high and sides[0] * sides[1] >= 0.7 * full

    def _fits(self, layer: Layer) -> bool:
        """Whether everything below keeps the visible share that it must keep."""
        mask = self._place(layer)
        if (mask & self._occupied).any():
            return False
        return all(self._share(k, mask) >= limit for k, limit in enumerate(self._limit))

    def _share(self, index: int, mask: np.ndarray | None = None) -> float:
        hidden = self._hidden[index] if mask is None else self._hidden[index] | mask
        full = self._full[index]
        return 1 - np.count_nonzero(full & hidden) / np.count_nonzero(full)

    def _place(self, layer: Layer) -> np.ndarray:
        """Return where the layer is more than half opaque on the canvas: (side, side) bool."""
        canvas = np.zeros((self.settings.side, self.settings.side), dtype=bool)
        rows, columns, part = visible_part(layer, self.settings.side)
        canvas[rows, columns] = part > 0.5
        return canvas

    def _boxes(self) -> list[tuple[float, float, float, float]]:
        return [item.layer.box for item in self.scene.objects if item.role == "object"]

    def _push(self, layer: Layer, wish: Wish | None) -> None:
        mask = self._place(layer)
        for hidden in self._hidden:
            hidden |= mask
        if wish is None:
            self.scene.objects.append(SceneObject("bar", layer, role="occluder"))
            self._occupied |= mask  # an object over a bar would uncover what the bar covers
            return
        self.scene.objects.append(SceneObject(wish.kind, layer, size_range=wish.size_range))
        self._full.append(mask)
        self._hidden.append(np.zeros_like(mask))
        self._limit.append(0.99)

    def _remove_last(self) -> None:
        self.scene.objects.pop()
        for masks in (self._full, self._hidden, self._limit):
            masks.pop()

    def finish(self) -> Scene:
        """Write each object's visible share into its record and return the scene."""
        items = [item for item in self.scene.objects if item.role == "object"]
        for index, item in enumerate(items):
            item.visible = self._share(index)
        return self.scene
