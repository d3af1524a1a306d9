"""The machinery that composes all worlds: specs drawn by strata, things placed by trial."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

TRIES = 40  # places that are tried for a thing


class ObjectSpec(NamedTuple):
    """An object that a scene shall get."""

    kind: str
    stratum: int  # index of its size range (shapes) or of its level of difficulty (streets)
    covered: bool = False  # partly, by something else


class StratifiedSampler:
    """Draws specs from shuffled rounds of a list, so that shares are met exactly, not by luck.

    Specs that found no place come first in the next scene, so that crowded pictures do not thin out
    the large objects.
    """

    def __init__(self, specs: Sequence[ObjectSpec], random: np.random.RandomState):
        self.specs, self.random = specs, random
        self._round: list[ObjectSpec] = []
        self.returned: list[ObjectSpec] = []

    def draw(self, count: int) -> list[ObjectSpec]:
        drawn, self.returned = self.returned[:count], self.returned[count:]
        while len(drawn) < count:
            if not self._round:
                self._round = [self.specs[k] for k in self.random.permutation(len(self.specs))]
            drawn.append(self._round.pop())
        return drawn


@dataclass(eq=False)
class Placed:
    """A thing in a scene, the pixels that it covers, and which share of them may be hidden."""

    thing: Any
    mask: np.ndarray  # (H, W) bool
    depth: float  # of two things at a pixel, the one with the smaller depth hides the other
    visible: tuple[float, float] = (0.0, 1.0)  # limits of the share that nothing hides


class Composer:
    """Places things by trial, so that every one stays as visible as the settings want it."""

    def __init__(self, settings: Any, random: np.random.RandomState):
        self.settings, self.random = settings, random
        self.placed: list[Placed] = []

    def attempt(self, propose: Callable[[], Placed | None]) -> Placed | None:
        """Add the first proposal that fits; None when none of `TRIES` does."""
        for _ in range(TRIES):
            entry = propose()
            if entry is not None and self.add(entry):
                return entry
        return None

    def add(self, entry: Placed) -> bool:
        """Add a thing if all that is placed, itself included, keeps to its limits."""
        self.placed.append(entry)
        if all(self.keeps_limits(item) for item in self.placed):
            return True
        self.placed.remove(entry)
        return False

    def keeps_limits(self, entry: Placed) -> bool:
        """Whether nearer things hide neither too much nor too little of a thing."""
        least, most = entry.visible
        return least <= 1 - self.hidden_share(entry) <= most

    def hidden_mask(self, entry: Placed) -> np.ndarray:
        """Return where nearer things lie, (H, W) bool."""
        nearer = [other.mask for other in self.placed if other.depth < entry.depth]
        return np.logical_or.reduce([np.zeros_like(entry.mask), *nearer])

    def hidden_share(self, entry: Placed) -> float:
        """Return the share of a thing's pixels that nearer things cover; 1 if it has no pixel."""
        total = np.count_nonzero(entry.mask)
        return np.count_nonzero(entry.mask & self.hidden_mask(entry)) / total if total else 1.0
