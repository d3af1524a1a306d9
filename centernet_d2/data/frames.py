"""What a network frame of one size shows of images, and which objects it leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..structures.padded_images import LEAST_LOST, Size, canvas_of_whole, lost_share, shown_side
from .fields.base import source_boxes

_DIVISOR = 32  # of most networks


class NetworkFrame(NamedTuple):
    """How images come into a frame of fixed size: centred, at one scale."""

    size: Size
    fit: str  # see `shown_side`
    key: str  # of the config, that says `size`


def check_frame(
    records: Sequence[Mapping[str, Any]], frame: NetworkFrame, *, trained: bool
) -> list[str]:
    """Say how much of images the frame does not show, and how many objects; [] where it shows all.

    Of an object whose middle lies outside, published training learns the middle of what is left.
    """
    cut, outside, partly, objects = [], 0, 0, 0
    for record in records:
        entries = [e for e in record.get("annotations", ()) if not e.get("ignored")]
        objects += len(entries)
        size = int(record.get("height") or 0), int(record.get("width") or 0)
        if not all(size):
            continue
        side = shown_side(size, frame.size, frame.fit)
        if (share := lost_share(size, frame.size, side)) > LEAST_LOST:
            cut.append((share, size, record["file_name"]))
            half = np.array([side, side * frame.size[0] / frame.size[1]]) / 2
            ends = source_boxes(entries, record["file_name"]).reshape(-1, 2, 2) - (
                np.array(size[::-1]) / 2
            )
            gone = (np.abs(ends.mean(axis=1)) > half).any(axis=1)
            seen = ((ends[:, 0] < half) & (ends[:, 1] > -half)).all(axis=1)
            outside, partly = outside + gone.sum(), partly + (gone & seen).sum()
    if not cut:
        return []
    share, size, name = max(cut)
    whole = canvas_of_whole([size for _, size, _ in cut], frame.size, _DIVISOR, frame.fit)
    learned = f", of which {partly} are learned at the middle of the part inside" * trained
    return [
        f"{frame.key} {list(frame.size)} does not show all of {len(cut)} of {len(records)} images; "
        f"on average {np.mean([c[0] for c in cut]):.0%} of them is cut ({share:.0%} of '{name}', "
        f"{size[1]} x {size[0]}), and the middle of {outside} of {objects} objects lies outside"
        f"{learned}. INPUT.TRAIN_SIZE and TEST.FIXED_SIZE {list(whole)} (height, width) show "
        "everything"
    ]
