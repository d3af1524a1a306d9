"""From settings and a seed to a split's street scenes; shares are met by dealing, not by luck."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from .composer import SceneComposer3d, Wish3d
from .scenes import CAMERA, Scene3d, SceneSettings3d


@dataclass(frozen=True)
class Split3dSettings:
    """A split: how many pictures, from which seed, of which scenes."""

    images: int
    seed: int
    scenes: SceneSettings3d = field(default_factory=SceneSettings3d)


class Dealer3d:
    """Deals wishes from a shuffled deck; wishes that found no place come back on top."""

    def __init__(self, settings: SceneSettings3d, random: np.random.RandomState):
        self.settings = settings
        self.random = random
        self._deck: list[Wish3d] = []
        self._returned: list[Wish3d] = []

    def deal(self, count: int) -> list[Wish3d]:
        """Take `count` wishes."""
        wishes, self._returned = self._returned[:count], self._returned[count:]
        while len(wishes) < count:
            if not self._deck:
                self._shuffle()
            wishes.append(self._deck.pop())
        return wishes

    def take_back(self, wishes: list[Wish3d]) -> None:
        """Keep wishes for the next scene."""
        self._returned.extend(wishes)

    def _shuffle(self) -> None:
        deck = [
            Wish3d(kind, level)
            for kind, copies in self.settings.class_weights
            for level, share in enumerate(self.settings.level_weights)
            for _ in range(copies * share)
        ]
        self._deck = [deck[k] for k in self.random.permutation(len(deck))]


def make_scenes3d(split: Split3dSettings) -> Iterator[tuple[Scene3d, np.random.RandomState]]:
    """Yield the split's scenes in order, each with the random state for its colours.

    numpy's `RandomState` streams are frozen by its authors, so that a seed means the same scenes
    everywhere.
    """
    settings = split.scenes
    random = np.random.RandomState([split.seed, 0])
    dealer = Dealer3d(settings, random)
    low, high = settings.objects_per_image
    for index in range(split.images):
        composer = SceneComposer3d(settings, CAMERA, random)
        dealer.take_back(composer.add_objects(dealer.deal(random.randint(low, high + 1))))
        yield composer.finish(), np.random.RandomState([split.seed, 1, index])
