"""From settings and a seed to a split's scenes; shares are met by dealing, not by luck."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from .composer import SceneComposer
from .figure_scenes import FigureSettings, make_figure_scenes
from .scenes import Scene, SceneSettings, Wish


@dataclass(frozen=True)
class SplitSettings:
    """A split: how many pictures, from which seed, of which scenes."""

    images: int
    seed: int
    scenes: SceneSettings | FigureSettings = field(default_factory=SceneSettings)


class Dealer:
    """Deals wishes from a shuffled deck in which every size range and class is equally frequent.

    Wishes that found no place come back on top, so that crowded pictures do not thin out the large
    objects.
    """

    def __init__(self, settings: SceneSettings, random: np.random.RandomState):
        self.settings = settings
        self.random = random
        self._deck: list[Wish] = []
        self._returned: list[Wish] = []

    def deal(self, count: int) -> list[Wish]:
        """Take `count` wishes."""
        wishes = self._returned[:count]
        self._returned = self._returned[count:]
        while len(wishes) < count:
            if not self._deck:
                self._shuffle()
            wishes.append(self._deck.pop())
        return wishes

    def take_back(self, wishes: list[Wish]) -> None:
        """Keep wishes for the next scene."""
        self._returned.extend(wishes)

    def _shuffle(self) -> None:
        one_in = round(1 / self.settings.covered_share)
        deck = [
            Wish(kind, size_range, covered=copy == 0)
            for kind in self.settings.classes
            for size_range in range(len(self.settings.size_ranges))
            for copy in range(one_in)
        ]
        self._deck = [deck[k] for k in self.random.permutation(len(deck))]


def make_scenes(split: SplitSettings) -> Iterator[tuple[Scene, np.random.RandomState]]:
    """Yield the split's scenes in order, each with the random state for its colours.

    numpy's `RandomState` streams are frozen by its authors, so that a seed means the same scenes
    everywhere.
    """
    settings = split.scenes
    if isinstance(settings, FigureSettings):
        yield from make_figure_scenes(settings, split.images, split.seed)
        return
    random = np.random.RandomState([split.seed, 0])
    empty = _chosen(split.images, settings.empty_share, random)
    crowded = _chosen(split.images, settings.crowd_share, random) - empty
    dealer = Dealer(settings, random)
    for index in range(split.images):
        composer = SceneComposer(settings, random)
        composer.add_background()
        if index not in empty:
            if index in crowded:
                composer.add_crowd(settings.classes[random.randint(len(settings.classes))])
            low, high = settings.objects_per_image
            _fill(composer, dealer, random.randint(low, high + 1))
        yield composer.finish(), np.random.RandomState([split.seed, 1, index])


def _fill(composer: SceneComposer, dealer: Dealer, count: int) -> None:
    """Place `count` wishes; a picture that is meant to have objects gets at least one."""
    unmet = composer.add_objects(dealer.deal(count))
    if len(unmet) == count:
        unmet.extend(composer.add_objects(dealer.deal(1)))
    dealer.take_back(unmet)


def _chosen(images: int, share: float, random: np.random.RandomState) -> set[int]:
    return set(random.permutation(images)[: round(share * images)].tolist())
