"""Composing one street scene: placing wished objects so that each is seen as well as wished."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .scenes import (
    CAMERA_HEIGHT,
    HIDDEN_LIMITS,
    Camera,
    Scene3d,
    SceneSettings3d,
    Seen,
    Solid,
    level_of,
    see,
)

_TRIES = 40
_MARGIN = 0.04  # of shares, kept from the limits, since placing counts in coarse masks
COVER = "cover"


@dataclass(frozen=True)
class Wish3d:
    """An object that a scene shall get: class, and index of the level at which it is seen."""

    kind: str
    level: int


@dataclass
class _Placed:
    seen: Seen
    least_hidden: float  # the object's level holds while its hidden share is between these
    most_hidden: float


class SceneComposer3d:
    """Places wished solids before a camera by trial; `random` is the only source of chance."""

    def __init__(self, settings: SceneSettings3d, camera: Camera, random: np.random.RandomState):
        self.settings = settings
        self.camera = camera
        self.random = random
        self._placed: list[_Placed] = []

    def add_objects(self, wishes: Sequence[Wish3d]) -> list[Wish3d]:
        """Place the wished objects; returns the wishes that found no place (or no cover)."""
        wishes = list(wishes)
        unmet: list[Wish3d] = []
        # Those that something must cover come first, and an easy wish may be what covers them.
        wishes.sort(key=lambda wish: -wish.level)
        while wishes:
            wish = wishes.pop(0)
            if not self._add(wish, wishes):
                unmet.append(wish)
        return unmet

    def finish(self) -> Scene3d:
        """Return the scene."""
        return Scene3d(self.camera, [entry.seen.solid for entry in self._placed])

    def _add(self, wish: Wish3d, others: list[Wish3d]) -> bool:
        if wish.level == 0:
            return self._add_free(wish)
        ways = [self._add_covered, self._add_truncated]
        if self.random.rand() < 0.5:
            ways.reverse()
        if wish.level == 1:  # a small one is moderate too, but far away
            ways.insert(0 if self.random.rand() < 0.2 else 2, self._add_far)
        return any(way(wish, others) for way in ways)

    def _add_free(self, wish: Wish3d) -> bool:
        """Place an object that is easy to see."""
        for _ in range(_TRIES):
            seen = see(self._solid(wish.kind, self._place()), self.camera)
            if seen is None or level_of(seen.height, 0, seen.truncated) != wish.level:
                continue
            if self._push(seen, 0.0, HIDDEN_LIMITS[0] - _MARGIN):
                return True
        return False

    def _add_far(self, wish: Wish3d, others: list[Wish3d]) -> bool:
        """Place an object so far away that its height makes it moderate."""
        for _ in range(_TRIES):
            depth = self.random.uniform(0.7, 1) * self.settings.depths[1]
            seen = see(self._solid(wish.kind, self._place(depth)), self.camera)
            if seen is None or level_of(seen.height, 0, seen.truncated) != wish.level:
                continue
            if self._push(seen, 0.0, HIDDEN_LIMITS[1] - _MARGIN):
                return True
        return False

    def _add_truncated(self, wish: Wish3d, others: list[Wish3d]) -> bool:
        """Place an object at the left or right border of the image."""
        for _ in range(_TRIES):
            side = self.random.randint(2)
            depth = self._depth(largest=20.0)
            solid = self._solid(wish.kind, (0.0, CAMERA_HEIGHT, depth))
            reach = solid.radius * self.random.uniform(0, 1)
            border = self._ray(side * (self.camera.width - 1)) * depth
            x = border + (reach if side else -reach) * self.random.choice([-0.5, 1])
            seen = see(_moved(solid, (x, CAMERA_HEIGHT, depth)), self.camera)
            if seen is None or level_of(seen.height, 0, seen.truncated) != wish.level:
                continue
            if self._push(seen, 0.0, HIDDEN_LIMITS[wish.level] - _MARGIN):
                return True
        return False

    def _add_covered(self, wish: Wish3d, others: list[Wish3d]) -> bool:
        """Place an object and, before it, an easy wish or a cover that hides a part of it."""
        least = HIDDEN_LIMITS[wish.level - 1] + _MARGIN
        most = HIDDEN_LIMITS[wish.level] - _MARGIN
        for _ in range(4):
            depth = self._depth(smallest=self.settings.depths[0] + 4, largest=30.0)
            seen = see(self._solid(wish.kind, self._place(depth)), self.camera)
            if seen is None or level_of(seen.height, most, seen.truncated) != wish.level:
                continue
            if not self._push(seen, 0.0, 1.0):
                continue
            entry = self._placed[-1]
            if self._cover(entry, least, most, others):
                entry.least_hidden, entry.most_hidden = least, most
                return True
            self._placed.remove(entry)
        return False

    def _cover(self, entry: _Placed, least: float, most: float, others: list[Wish3d]) -> bool:
        easy = [wish for wish in others if wish.level == 0]
        wish = easy[self.random.randint(len(easy))] if easy and self.random.rand() < 0.6 else None
        behind = entry.seen.solid
        for _ in range(_TRIES):
            solid = self._solid(COVER if wish is None else wish.kind, (0.0, CAMERA_HEIGHT, 1.0))
            gap = behind.radius + solid.radius
            distance = behind.distance - gap * self.random.uniform(1, 2.5)
            angle = math.atan2(behind.location[0], behind.location[2])
            angle += self.random.uniform(-1, 1) * gap / max(distance, 1)
            place = (distance * math.sin(angle), CAMERA_HEIGHT, distance * math.cos(angle))
            if place[2] < self.settings.depths[0]:
                continue
            seen = see(_moved(solid, place), self.camera)
            if seen is None:
                continue
            if wish is not None and level_of(seen.height, 0, seen.truncated) != 0:
                continue
            entry.least_hidden, entry.most_hidden = least, most
            limit = 1.0 if wish is None else HIDDEN_LIMITS[0] - _MARGIN
            if self._push(seen, 0.0, limit):
                if wish is not None:
                    others.remove(wish)
                return True
            entry.least_hidden, entry.most_hidden = 0.0, 1.0
        return False

    def _push(self, seen: Seen, least: float, most: float) -> bool:
        """Add a solid if it stands clear of all others and every object keeps its level."""
        entry = _Placed(seen, least, most)
        x, _, z = seen.solid.location
        for other in self._placed:
            there = other.seen.solid
            apart = math.hypot(there.location[0] - x, there.location[2] - z)
            if apart < there.radius + seen.solid.radius:
                return False
        self._placed.append(entry)
        for item in self._placed:
            if not item.least_hidden <= self._hidden(item) <= item.most_hidden:
                self._placed.remove(entry)
                return False
        return True

    def _hidden(self, entry: _Placed) -> float:
        """Share of an object inside the image that nearer solids hide, in coarse masks."""
        mask = entry.seen.mask
        total = np.count_nonzero(mask)
        if total == 0:
            return 1.0
        hidden = np.zeros_like(mask)
        for other in self._placed:
            if other is not entry and other.seen.solid.distance < entry.seen.solid.distance:
                hidden |= other.seen.mask
        return np.count_nonzero(mask & hidden) / total

    def _solid(self, kind: str, place: tuple[float, float, float]) -> Solid:
        sizes = self.settings.cover_size if kind == COVER else self.settings.sizes[kind]
        height, width, length = (float(self.random.uniform(low, high)) for low, high in sizes)
        heading = float(self.random.uniform(-math.pi, math.pi))
        role = "cover" if kind == COVER else "object"
        return Solid(kind, place, (height, width, length), heading, role)

    def _place(self, depth: float | None = None) -> tuple[float, float, float]:
        depth = self._depth() if depth is None else depth
        column = self.random.uniform(0, self.camera.width - 1)
        return self._ray(column) * depth, CAMERA_HEIGHT, depth

    def _depth(self, smallest: float | None = None, largest: float | None = None) -> float:
        """Draw a depth; equal ratios are equally frequent, so that half are under 14 m."""
        low, high = self.settings.depths
        low, high = smallest or low, largest or high
        return float(np.exp(self.random.uniform(np.log(low), np.log(high))))

    def _ray(self, column: float) -> float:
        matrix = self.camera.matrix
        return float((column - matrix[0, 2]) / matrix[0, 0])


def _moved(solid: Solid, place: tuple[float, float, float]) -> Solid:
    return Solid(solid.kind, place, solid.dimensions, solid.rotation_y, solid.role)
