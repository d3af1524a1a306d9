"""What a network frame of one size shows of images, and which objects it leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..structures.padded_images import (
    LEAST_LOST,
    Size,
    canvas_of_whole,
    fitting_side,
    lost_share,
)
from .fields.base import source_boxes

_DIVISOR = 32  # of most networks


@dataclass(frozen=True)
class NetworkFrame:
    """How images come into a frame of fixed size: centred, at one scale."""

    size: Size
    # What becomes the frame's width: the image's "width"; as many of its pixels, "none"; so much
    # that the "whole" image fits.
    fit: str
    key: str  # of the config, that says `size`

    def shown_side(self, size: Size) -> float:
        """Image pixels that the frame's width shows, of an image of `size`."""
        if self.fit == "whole":
            return fitting_side(size, self.size)
        return float(size[1] if self.fit == "width" else self.size[1])

    def whole(self, sizes: Sequence[Size]) -> Size:
        """A frame that would show the whole of images of these sizes."""
        tallest = max(sizes, key=lambda size: size[0] / size[1])
        if self.fit == "none":
            tallest = tuple(map(max, zip(*sizes, strict=True)))
        return canvas_of_whole(tallest, self.size, _DIVISOR, self.fit)


def check_frame(
    records: Sequence[Mapping[str, Any]], frame: NetworkFrame, source: str, *, trained: bool
) -> list[str]:
    """Say how much of images the frame does not show, and how many objects; [] where it shows all.

    Of an object whose middle lies outside, published training learns the middle of what is left.
    """
    cut = []  # lost share, size, file of an image
    places = [np.zeros((0, 2), dtype=bool)]  # of objects: middle outside, and seen in part for that
    objects = 0
    for record in records:
        entries = [e for e in record.get("annotations", ()) if not e.get("ignored")]
        objects += len(entries)
        if not (record.get("height") and record.get("width")):
            continue
        size = int(record["height"]), int(record["width"])
        side = frame.shown_side(size)
        share = lost_share(size, frame.size, side)
        if share > LEAST_LOST:
            cut.append((share, size, record["file_name"]))
            half = np.array([side, side * frame.size[0] / frame.size[1]]) / 2
            boxes = source_boxes(entries, record["file_name"]).reshape(-1, 2, 2)
            places.append(_outside(boxes - np.array(size[::-1]) / 2, half))
    if not cut:
        return []
    share, size, name = max(cut)
    outside, partly = np.concatenate(places).sum(axis=0)
    learned = f", of which {partly} are learned at the middle of the part inside" * trained
    return [
        f"{source}: {frame.key} {list(frame.size)} does not show all of {len(cut)} of "
        f"{len(records)} images; on average {np.mean([c[0] for c in cut]):.0%} of them is cut "
        f"({share:.0%} of '{name}', {size[1]} x {size[0]}), and the middle of {outside} of "
        f"{objects} objects lies outside{learned}. INPUT.TRAIN_SIZE and TEST.FIXED_SIZE "
        f"{list(frame.whole([size for _, size, _ in cut]))} (height, width) show everything"
    ]


def _outside(boxes: np.ndarray, half: np.ndarray) -> np.ndarray:
    """(P, 2) bool: whether the middle of boxes (P, 2, 2) lies beyond +-`half`, and a part not."""
    gone = (np.abs(boxes.mean(axis=1)) > half).any(axis=1)
    seen = ((boxes[:, 0] < half) & (boxes[:, 1] > -half)).all(axis=1)
    return np.stack([gone, gone & seen], axis=1)
