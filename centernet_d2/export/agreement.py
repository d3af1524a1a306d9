"""How far a file of lower precision finds what PyTorch finds, where equality is not to be had."""

from dataclasses import dataclass

import numpy as np

from .formats import Arrays
from .parity import Differences, differences, gap_of, paired

SURE = 0.3  # detections above this score are compared
OVERLAP, APART = 0.75, 0.1  # of counterparts: least intersection over union, largest gap of scores
SHARE = 0.95  # least share of the sure detections, of both sides, that have a counterpart


@dataclass
class Agreement(Differences):
    """As `Differences`, but of sure detections that have counterparts, and their share."""

    sure: int = 0  # detections of both sides
    met: int = 0  # those of them that have a counterpart
    overlap: float = OVERLAP  # what makes a counterpart
    apart: float = APART

    def add(self, expected: Arrays, found: Arrays, picture: str) -> None:
        """Compare the detections of one picture."""
        self.detections += len(expected["scores"])
        first, second = counterparts(expected, found, self.overlap, self.apart)
        sure, other = expected["scores"] > SURE, found["scores"] > SURE
        self.sure += int(sure.sum() + other.sum())
        self.met += int(sure[first].sum() + other[second].sum())
        either = sure[first] | other[second]
        for name, value in differences(expected, found, first[either], second[either]):
            self.note(name, value, picture)

    def fault(self) -> str:
        """What differs too much, in words; "" where nothing does."""
        if not self.sure:
            return f"neither side finds anything above {SURE:g} in these pictures"
        return "" if self.met >= SHARE * self.sure else self.told()

    def told(self) -> str:
        """What was found out besides the worst differences."""
        return (
            f"{self.met / max(self.sure, 1):.1%} of {self.sure} above {SURE:g} of both have a "
            f"counterpart (needed: {SHARE:.0%}): one class, overlap from {self.overlap:g} on, "
            f"scores up to {self.apart:g} apart"
        )


def counterparts(
    expected: Arrays, found: Arrays, least: float = OVERLAP, apart: float = APART
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both that are one object: best overlap first, each row once."""
    one, other = _boxes(expected)[:, None], _boxes(found)
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    shared = (high - low).clip(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(-1) for boxes in (one, other)]
    overlap = shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)
    fits = (gap_of(expected, found) <= apart) & (overlap >= least)
    return paired(expected, found, fits, -overlap)


def _boxes(rows: Arrays) -> np.ndarray:
    """(R, 4) boxes; where there are none those around joints, or two metres of the ground."""
    if "pred_boxes" in rows:
        return rows["pred_boxes"].astype(float)
    places = rows["pred_keypoints"][..., :2] if "pred_keypoints" in rows else None
    if places is None:
        places = rows["pred_boxes3d"][:, None, [0, 2]] + np.array([[-1.0], [1.0]])
    return np.concatenate([places.min(1), places.max(1)], axis=1).astype(float)
