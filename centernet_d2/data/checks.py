"""Finding annotations that would train silently on garbage; each is named with its cure.

Boxes are COCO's (x, y, width, height) in pixels of the original image. What cannot be meant is an
error; what is only useless (an empty box, a box outside its image) is dropped and counted; a
suspicion is a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import compress
from typing import NamedTuple

import numpy as np

logger = logging.getLogger(__name__)

# A box may reach over the border by this much before it says anything (annotation tools round).
TOLERANCE = 1.0
# Share of boxes that leave the image as xywh, but fit as xyxy, from which on the file is suspected.
_XYXY_SHARE = 0.1
# Share of boxes that lie in the first pixel of larger images, from which on they are no pixels.
_RELATIVE_SHARE = 0.9
LARGEST = 1e12  # number of pixels in a file: the area of a box is one in single precision too
_SHOWN = 5

_NO_NUMBER = "{} hold NaN or infinity: {}. Correct 'bbox' of these annotations or remove them"
_TOO_LARGE = "{} hold numbers beyond 1e12: {}. Correct 'bbox' of these annotations or remove them"
_NEGATIVE = (
    "{} have a negative width or height: {}. 'bbox' is [x, y, width, height]; subtract the corners "
    "in the other order or remove the annotations"
)
_RELATIVE = (
    "{} have no number above 1, in images that are larger: {}. These are shares of the image; "
    "'bbox' is in pixels: multiply x and width by the image's width, y and height by its height"
)
_LIKE_XYXY = (
    "{} reach over their image as [x, y, width, height], but fit it as [x1, y1, x2, y2]: {}. If "
    "'bbox' holds two corners, write [x1, y1, x2 - x1, y2 - y1]; training on it as it is gives an "
    "AP near 0"
)
_EMPTY = (
    "dropped {} of zero width or height: {}. They are neither learned nor to be found; correct "
    "'bbox' or remove the annotations to silence this"
)
_OUTSIDE = (
    "dropped {} that lie outside their image: {}. They are neither learned nor to be found; check "
    "'bbox', and 'width' and 'height' of these images"
)


class DatasetError(ValueError):
    """The dataset cannot be used as it is; the message names file, record and key, and the cure."""


class BoxReport(NamedTuple):
    """Outcome of `check_boxes`: which of N rows to keep, and messages to log."""

    keep: np.ndarray  # (N,) bool
    messages: tuple[str, ...]


def check_boxes(
    boxes: np.ndarray, image_sizes: np.ndarray, *, source: str, describe: Callable[[int], str]
) -> BoxReport:
    """Check (N, 4) boxes (x, y, width, height) against their images' (N, 2) width and height.

    In messages `source` is the file that they come from, and `describe` names the image and the
    annotation of a row. DatasetError of what cannot be meant.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    sizes = np.asarray(image_sizes, dtype=np.float64).reshape(-1, 2)

    def told(rows: np.ndarray, what: str) -> str:
        """Fill in how many of the boxes, and which."""
        found = examples(rows, lambda row: f"{describe(row)} bbox {boxes[row].tolist()}")
        return f"{source}: " + what.format(f"{rows.sum()} of {len(boxes)} boxes", found)

    def refuse(wrong: np.ndarray, what: str) -> None:
        if wrong.any():
            raise DatasetError(told(wrong, what))

    refuse(~np.isfinite(boxes).all(axis=1), _NO_NUMBER)
    refuse((np.abs(boxes) > LARGEST).any(axis=1), _TOO_LARGE)
    refuse((boxes[:, 2:] < 0).any(axis=1), _NEGATIVE)
    start, end = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    empty = (boxes[:, 2:] == 0).any(axis=1)
    outside = ~empty & ((start >= sizes).any(axis=1) | (end <= 0).any(axis=1))
    # In single precision, in which boxes are learned.
    empty |= ~outside & (start.astype(np.float32) == end.astype(np.float32)).any(axis=1)
    relative = ~empty & (boxes <= 1).all(axis=1) & (sizes > 1).all(axis=1)
    if relative.sum() >= _RELATIVE_SHARE * (~empty).sum():
        refuse(relative, _RELATIVE)
    reaches_over = (end > sizes + TOLERANCE).any(axis=1) & (boxes[:, :2] >= 0).all(axis=1)
    fits = (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= sizes + TOLERANCE)
    like_xyxy = reaches_over & fits.all(axis=1)
    suspected = like_xyxy & (like_xyxy.sum() >= _XYXY_SHARE * len(boxes))
    suspicions = {_LIKE_XYXY: suspected, _EMPTY: empty, _OUTSIDE: outside}
    messages = [told(rows, what) for what, rows in suspicions.items() if rows.any()]
    return BoxReport(~(empty | outside), tuple(messages))


def drop_useless_boxes(
    records: list[dict],
    *,
    source: str,
    describe: Callable[[int], str],
    boxes: np.ndarray | None = None,
) -> tuple[str, ...]:
    """Check all annotations' boxes at once; records that lose some are replaced by copies.

    `boxes` are (N, 4) x, y, width, height, or those of the annotations, if these are XYXY.
    `describe` names the record of an index. Returns what was logged as warnings.
    """
    counts = [len(record["annotations"]) for record in records]
    owner = np.repeat(np.arange(len(records)), counts)
    starts = np.cumsum(counts) - counts
    if boxes is None:
        rows = [entry["bbox"] for record in records for entry in record["annotations"]]
        boxes = np.array(rows, dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] -= boxes[:, :2]
    keep, messages = check_boxes(
        boxes,
        np.array([(record["width"], record["height"]) for record in records])[owner],
        source=source,
        describe=lambda k: f"annotation {k - starts[owner[k]]} of {describe(owner[k])}",
    )
    for message in messages:
        logger.warning(message)
    for index in np.unique(owner[~keep]):
        kept = compress(records[index]["annotations"], keep[starts[index] :])
        records[index] = {**records[index], "annotations": list(kept)}
    return messages


def check_image_size(file_name: str, recorded: tuple[int, int], actual: tuple[int, int]) -> None:
    """Raise `DatasetError` where an image file's (width, height) is not what its record says.

    Boxes drawn on an image of another size or orientation would be wrong in silence.
    """
    if tuple(recorded) == tuple(actual):
        return
    cause = (
        "the file was resized or exchanged after annotating; correct 'width', 'height' and the "
        "boxes, or the file"
    )
    if tuple(recorded) == tuple(actual)[::-1]:
        cause = (
            "width and height are exchanged, most likely by an EXIF orientation that the "
            "annotation tool did not apply; set INPUT.EXIF_ORIENTATION ignore, which takes the "
            "pixels as stored, or save the file with its pixels in upright order and without it"
        )
    raise DatasetError(
        f"image file '{file_name}' has (width, height) {tuple(actual)}, its dataset record says "
        f"{tuple(recorded)}: {cause}"
    )


def examples(rows: np.ndarray, describe: Callable[[int], str]) -> str:
    """Describe the first of the rows that are True."""
    found = np.flatnonzero(rows)
    words = [describe(int(row)) for row in found[:_SHOWN]]
    return "; ".join(words) + ("; ..." if len(found) > _SHOWN else "")
