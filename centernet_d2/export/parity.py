"""Whether an exported file finds what PyTorch finds: every output of every detection, ties aside.

Of one picture two lists of detections are compared: `expected`, of the Predictor, and `found`.
Arrays by output name, R rows each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from .formats import Arrays

SCORE, PLACE = 1e-4, 1e-3
"""What may differ: scores (of joints too), and pixels, metres and radians."""
FAR = 1000.0
"""Beyond so many pixels or metres the difference counts relative to them: single precision."""
TIES = 0.02
"""The largest share of detections that may tie, see `ties`."""
GENERATED, FAINT = "generated picture", 0.1
"""In pictures of such names what one side alone finds below this score ties: no detector was
trained for them, and many a cell is as high as a neighbour which a third one tops.
"""


@dataclass
class Differences:
    """The worst of all pictures so far, by what is compared."""

    floor: float = 0  # no detection below this score is missed, but pairs are compared
    worst: dict[str, float] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)  # the picture of each
    detections: int = 0
    ties: int = 0  # detections that one side alone found, beside others of equal score
    alone: list[str] = field(default_factory=list)  # what one side alone found

    def add(self, expected: Arrays, found: Arrays, picture: str) -> None:
        """Compare the detections of one picture."""
        self.detections += len(expected["scores"])
        pairs = matched(expected, found)
        lowest = min(float(rows["scores"].min(initial=1)) for rows in (expected, found))
        lowest = max(lowest, self.floor)
        faint = FAINT if picture.startswith(GENERATED) else 0
        both = (expected, found)
        rest = [unmatched(r, taken, lowest) for r, taken in zip(both, pairs, strict=True)]
        for whose, rows, others, numbers in zip(
            ("PyTorch", "the file"), both, reversed(both), rest, strict=True
        ):
            is_tie = ties(rows, others, numbers) | (rows["scores"][numbers] < faint)
            self.ties += int(is_tie.sum())
            for row in numbers[~is_tie]:
                told = f"{rows['scores'][row]:.4f} of class {rows['pred_classes'][row]}"
                self.alone.append(f"a score of {told} that {whose} alone finds in {picture}")
        for name, value in differences(expected, found, *pairs):
            self.note(name, value, picture)

    def note(self, name: str, value: float, picture: str) -> None:
        """Keep the difference of an output where it is the worst so far."""
        if not value <= self.worst.get(name, -1.0):  # NaN too
            self.worst[name], self.where[name] = value, picture

    def told(self) -> str:
        """What was found out besides the worst differences."""
        return f"{self.ties} of them ties"

    def fault(self) -> str:
        """What differs too much, in words; "" where nothing does."""
        for name, value in self.worst.items():
            limit = SCORE if "score" in name else PLACE
            if not value <= limit:
                return f"{name} differs by {value:.3g} (allowed: {limit:g}) in {self.where[name]}"
        if self.alone:
            return self.alone[0]
        if self.ties > max(2, TIES * self.detections):
            return f"{self.ties} of {self.detections} detections stand beside others of equal score"
        if not self.worst:
            return "PyTorch finds nothing to compare in these pictures"
        return ""


def matched(expected: Arrays, found: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are one detection: of one class, nearly one score, and the least apart in all."""
    shape = (len(expected["scores"]), len(found["scores"]))
    apart = np.zeros(shape)
    for _, values in _compared(expected, found, *np.indices(shape).reshape(2, -1)):
        apart = np.maximum(apart, np.nan_to_num(values, nan=1e6).reshape(shape))
    # What is a pixel and more apart is another detection, if it is one at all.
    return paired(expected, found, (apart < 1) & ~(gap_of(expected, found) > 0.01), apart)


def gap_of(expected: Arrays, found: Arrays) -> np.ndarray:
    """How far the scores of all pairs are apart."""
    return np.asarray(np.abs(expected["scores"][:, None] - found["scores"]))


def paired(
    expected: Arrays, found: Arrays, fits: np.ndarray, apart: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both, of one class, that fit: the least apart first, each row once."""
    fits &= expected["pred_classes"][:, None] == found["pred_classes"]
    rows = np.stack(np.nonzero(fits))
    pairs: dict[int, int] = {}
    for first, second in rows[:, apart[tuple(rows)].argsort(kind="stable")].T.tolist():
        if first not in pairs and second not in pairs.values():
            pairs[first] = second
    return np.array([*pairs], dtype=int), np.array([*pairs.values()], dtype=int)


def unmatched(rows: Arrays, taken: np.ndarray, lowest: float) -> np.ndarray:
    """Rows without counterpart but those that tie with the last one of a list."""
    rest = np.setdiff1d(np.arange(len(rows["scores"])), taken)
    return np.asarray(rest[~(rows["scores"][rest] <= lowest + SCORE)])


def ties(rows: Arrays, others: Arrays, numbers: np.ndarray) -> np.ndarray:
    """Whether rows `numbers` are of neighbouring cells of one object that are equally high.

    The last digit of a heatmap decides which of them are peaks: both where they are equal.
    """
    one, other = (
        {name: each[name] for name in ("scores", "pred_classes", "pred_boxes")}
        for each in ({name: v[numbers][:, None] for name, v in rows.items()}, others)
    )
    tie = one["pred_classes"] == other["pred_classes"]
    tie &= np.abs(one["scores"] - other["scores"]) <= SCORE
    sides = (one["pred_boxes"][..., 2:] - one["pred_boxes"][..., :2]).min(-1)
    tie &= np.abs(one["pred_boxes"] - other["pred_boxes"]).max(-1) <= sides / 4
    return np.asarray(tie.any(1))


def differences(
    expected: Arrays, found: Arrays, first: np.ndarray, second: np.ndarray
) -> Iterator[tuple[str, float]]:
    """Name and size of the largest difference of every output, over pairs of rows."""
    for name, values in _compared(expected, found, first, second) if len(first) else ():
        yield name, float(values.max())


def _compared(
    expected: Arrays, found: Arrays, first: np.ndarray, second: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Name -> the difference of each pair of rows, as it is judged."""
    for name in expected:
        if name == "pred_classes":
            continue
        one, other = expected[name][first].astype(float), found[name][second].astype(float)
        gap, size = np.abs(one - other), np.maximum(np.abs(one) / FAR, 1)
        shape = len(first), math.prod(gap.shape[1:])
        gap, size = gap.reshape(shape), size.reshape(shape)
        if name == "pred_keypoints":
            is_score = np.arange(gap.shape[1]) % 3 == 2
            yield "joint scores", gap[:, is_score].max(1, initial=0)
            yield "pred_keypoints", (gap / size)[:, ~is_score].max(1, initial=0)
        elif name == "pred_boxes3d":
            turn = gap[:, 6:] % (2 * np.pi)
            far = np.abs(one[:, 2:3])  # metres at which a box is: its place counts relative to it
            yield "pred_boxes3d", (gap[:, :6] / np.maximum(far, 1)).max(1, initial=0)
            yield "angles", np.minimum(turn, 2 * np.pi - turn).max(1, initial=0)
        else:
            yield name, (gap if name == "scores" else gap / size).max(1, initial=0)
