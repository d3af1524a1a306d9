"""How far a file of lower precision finds what PyTorch finds, where equality is not to be had."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .formats import Arrays
from .parity import Differences, differences

SURE = 0.3
"""Detections above this score are compared."""
OVERLAP, APART = 0.75, 0.1
"""Of two counterparts: the least intersection over union, and the largest gap of scores."""
SHARE = 0.95
"""The least share of sure detections, of both sides, that have a counterpart."""
NOISE = 0.15
"""Of raw maps: the largest root mean square of the difference, in parts of that of the values."""


@dataclass
class Agreement(Differences):
    """As `Differences`, but of sure detections that have counterparts, and their share."""

    sure: int = 0  # detections of both sides
    met: int = 0  # those of them that have a counterpart
    maps: set[str] = field(default_factory=set)

    def add(self, expected: Arrays, found: Arrays, picture: str) -> None:
        """Compare the detections of one picture."""
        self.detections += len(expected["scores"])
        first, second = counterparts(expected, found)
        sure, other = expected["scores"] > SURE, found["scores"] > SURE
        self.sure += int(sure.sum() + other.sum())
        self.met += int(sure[first].sum() + other[second].sum())
        either = sure[first] | other[second]
        for name, value in differences(expected, found, first[either], second[either]):
            self.note(name, value, picture)

    def note_map(self, name: str, expected: np.ndarray, found: np.ndarray, picture: str) -> None:
        """Compare a raw map."""
        self.maps.add(name)
        self.note(
            name, float(np.sqrt(np.mean((expected - found) ** 2) / np.mean(expected**2))), picture
        )

    def fault(self) -> str:
        """What differs too much, in words; "" where nothing does."""
        for name in self.maps:
            if not self.worst[name] <= NOISE:
                told = f"{name} has noise of {self.worst[name]:.2g} (allowed: {NOISE:g})"
                return f"{told} in {self.where[name]}"
        if not (self.maps or self.sure):
            return f"neither side finds anything above {SURE:g}: give other pictures by --images"
        return "" if self.met >= SHARE * self.sure else self.told()

    def told(self) -> str:
        """What was found out besides the worst differences."""
        if self.maps:
            return "as raw maps alone: what they are decoded to was not compared"
        return (
            f"{self.met / max(self.sure, 1):.1%} of {self.sure} above {SURE:g} of both have a "
            f"counterpart (needed: {SHARE:.0%}): one class, overlap from {OVERLAP:g} on, scores up "
            f"to {APART:g} apart"
        )


def counterparts(expected: Arrays, found: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both that are one object: best overlap first, each row once."""
    overlap = _overlap(_boxes(expected)[:, None], _boxes(found))
    gap = np.abs(expected["scores"][:, None] - found["scores"])
    fits = (expected["pred_classes"][:, None] == found["pred_classes"]) & (gap <= APART)
    first, second = np.nonzero(fits & (overlap >= OVERLAP))
    pairs: dict[int, int] = {}
    for number in (-overlap[first, second]).argsort(kind="stable"):
        row, other = int(first[number]), int(second[number])
        if row not in pairs and other not in pairs.values():
            pairs[row] = other
    return np.array([*pairs], dtype=int), np.array([*pairs.values()], dtype=int)


def _boxes(rows: Arrays) -> np.ndarray:
    """(R, 4) boxes; where there are none around joints, or around places on the ground."""
    if "pred_boxes" in rows:
        return rows["pred_boxes"].astype(float)
    if "pred_keypoints" in rows:
        places = rows["pred_keypoints"][..., :2].astype(float)
        return np.concatenate([places.min(1), places.max(1)], axis=1)
    place, length = rows["pred_boxes3d"][:, [0, 2]].astype(float), rows["pred_boxes3d"][:, 5:6]
    return np.concatenate([place - length / 2, place + length / 2], axis=1)


def _overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (..., 4)."""
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    shared = (high - low).clip(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(-1) for boxes in (one, other)]
    return np.asarray(shared / np.maximum(areas[0] + areas[1] - shared, 1e-9))
