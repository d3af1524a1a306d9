"""Finding annotations that would train silently on garbage; each is named with its cure.

Boxes are COCO's (x, y, width, height) in pixels of the original image. What cannot be meant is an
error; what is only useless (an empty box, a box outside its image) is dropped and counted; a
suspicion is a warning.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from typing import Any, NamedTuple

import numpy as np

from ..images import exif_turns, read_image_size

logger = logging.getLogger(__name__)

# A box may reach over the border by this much before it says anything (annotation tools round).
TOLERANCE = 1.0
# Share of boxes that leave the image as xywh, but fit in another form, from which on the file is
# suspected.
_OTHER_FORM_SHARE = 0.1
_CENTERED_SHARE = 0.95  # of all boxes, that then fit as [cx, cy, width, height]
_PERCENT = (20, 100.0, 200)  # from so many boxes on: all end here, in images of so many pixels
_OUTSIDE_SHARES = (0.1, 0.5)  # of boxes outside: from there on a cause is named, beyond an error
# Share of boxes that lie in the first pixel of larger images, from which on they are no pixels.
RELATIVE_SHARE = 0.9
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
_LIKE_CENTERED = (
    "{} reach over their image as [x, y, width, height], but fit it as [cx, cy, width, height]: "
    "{}. If 'bbox' begins with the middle, write [cx - width / 2, cy - height / 2, width, height]; "
    "training on it as it is gives an AP near 0"
)
_LIKE_PERCENT = (
    "{} lie in the first 100 x 100 pixels of larger images: {}. If these are percent of the image, "
    "multiply x and width by the image's width / 100, y and height by its height / 100"
)
_EMPTY = (
    "dropped {} of zero width or height: {}. They are neither learned nor to be found; correct "
    "'bbox' or remove the annotations to silence this"
)
_OUTSIDE = (
    "dropped {} that lie outside their image: {}. They are neither learned nor to be found; check "
    "'bbox', and 'width' and 'height' of these images"
)
_MOSTLY_OUTSIDE = (
    "{} lie outside their image: {}. Correct 'bbox', or 'width' and 'height' of these images"
)
_OUTSIDE_CAUSE = (
    ". So many suggest boxes in pixels of another resolution than the record's, or x and y "
    "exchanged"
)


class DatasetError(ValueError):
    """The dataset cannot be used as it is; the message names file, record and key, and the cure."""


class RowsError(DatasetError):
    """Some `rows` of a file cannot be used, `told` of each why; without them it may be whole."""

    def __init__(self, message: str, rows: Sequence[Any] = (), told: Iterable[str] = ()):
        super().__init__(message)
        self.rows, self.told = list(rows), list(told)


def check_boxes(
    boxes: np.ndarray, image_sizes: np.ndarray, *, source: str, describe: Callable[[int], str]
) -> tuple[np.ndarray, list[str]]:
    """Check (N, 4) boxes (x, y, width, height) against their images' (N, 2) width and height.

    In messages `source` is the file that they come from, and `describe` names the image and the
    annotation of a row. Returns which to keep, (N,) bool, and what was logged as warnings;
    DatasetError of what cannot be meant.
    """
    from .findings import reads_on  # which imports this module

    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    sizes = np.asarray(image_sizes, dtype=np.float64).reshape(-1, 2)
    if reads_on():  # they are judged together, as the file has them
        return np.ones(len(boxes), dtype=bool), []

    def told(rows: np.ndarray, what: str) -> str:
        """Fill in how many of the boxes, and which."""
        found = examples(rows, lambda row: f"{describe(row)} bbox {boxes[row].tolist()}")
        return f"{source}: " + what.format(f"{rows.sum()} of {len(boxes)} boxes", found)

    keep, messages = np.ones(len(boxes), dtype=bool), []
    for fault in judge_boxes(boxes, sizes):
        messages.append(told(fault.rows, fault.told))
        if fault.severity == "error":
            raise DatasetError(messages[-1])
        logger.warning(messages[-1])
        keep &= ~fault.rows | (not fault.is_dropped)
    return keep, messages


class BoxFault(NamedTuple):
    """Those of N boxes that have one kind of fault."""

    kind: str
    severity: str
    told: str  # template of how many, and which
    rows: np.ndarray  # (N,) bool
    is_dropped: bool = False  # in training and in the scores


def judge_boxes(boxes: np.ndarray, sizes: np.ndarray) -> list[BoxFault]:
    """What is wrong with (N, 4) boxes (x, y, width, height) in images of (N, 2) width and height.

    Each box has one fault at most, or looks like another form.
    """
    left = np.ones(len(boxes), dtype=bool)  # without a fault until here

    def taken(rows: np.ndarray) -> np.ndarray:
        nonlocal left
        rows, left = rows & left, left & ~rows
        return rows

    with np.errstate(invalid="ignore", over="ignore"):
        start, end = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
        no_number = taken(~np.isfinite(boxes).all(axis=1))
        too_large = taken((np.abs(boxes) > LARGEST).any(axis=1))
        negative = taken((boxes[:, 2:] < 0).any(axis=1))
        empty = taken((boxes[:, 2:] == 0).any(axis=1))
        relative = left & (boxes <= 1).all(axis=1) & (sizes > 1).all(axis=1)
        all_are = relative.sum() >= RELATIVE_SHARE * left.sum()
        if not all_are:  # some may be the first pixel
            relative &= (boxes % 1 > 0).any(axis=1) & (end > 0).all(axis=1)
        outside = taken((start >= sizes).any(axis=1) | (end <= 0).any(axis=1))
        # In single precision, in which boxes are learned.
        empty |= taken((start.astype(np.float32) == end.astype(np.float32)).any(axis=1))
    few, many = (outside.sum() > share * len(boxes) for share in _OUTSIDE_SHARES)
    told = (_MOSTLY_OUTSIDE if many else _OUTSIDE) + _OUTSIDE_CAUSE * bool(few)
    faults = [
        BoxFault("not-a-number", "error", _NO_NUMBER, no_number),
        BoxFault("too-large", "error", _TOO_LARGE, too_large),
        BoxFault("swapped", "error", _NEGATIVE, negative),
        BoxFault("normalised", "error" if all_are else "warning", _RELATIVE, relative),
        *_other_forms(boxes, sizes, left),
        BoxFault("zero-size", "warning", _EMPTY, empty, True),
        BoxFault("outside", "error" if many else "warning", told, outside, True),
    ]
    found = (fault for fault in faults if fault.rows.any())
    return sorted(found, key=lambda fault: fault.severity != "error")


def _other_forms(boxes: np.ndarray, sizes: np.ndarray, used: np.ndarray) -> list[BoxFault]:
    """What (N, 4) boxes look like that are not x, y, width, height; (N,) `used` are looked at."""
    boxes = np.where(used[:, None], boxes, 0)
    start, half, end = boxes[:, :2], boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:]
    least, limit, side = _PERCENT
    in_percent = used.sum() >= least and 0.8 * limit < end.max() <= limit + TOLERANCE
    if in_percent and sizes.min() >= side:
        return [BoxFault("like-percent", "warning", _LIKE_PERCENT, used)]
    reaches_over = (end > sizes + TOLERANCE).any(axis=1) & (start >= 0).all(axis=1)
    least = max(_OTHER_FORM_SHARE * len(boxes), 1)
    if reaches_over.sum() < least:
        return []
    corners = ((boxes[:, 2:] > start) & (boxes[:, 2:] <= sizes + TOLERANCE)).all(axis=1)
    middles = ((start - half >= -TOLERANCE) & (start + half <= sizes + TOLERANCE)).all(axis=1)
    is_middle = middles.sum() >= max(_CENTERED_SHARE * len(boxes), corners.sum())
    told = ("like-centered", _LIKE_CENTERED) if is_middle else ("like-xyxy", _LIKE_XYXY)
    fits = reaches_over & (middles if is_middle else corners)
    return [BoxFault(told[0], "warning", told[1], fits)] if fits.sum() >= least else []


def drop_useless_boxes(
    records: list[dict],
    *,
    source: str,
    describe: Callable[[int], str],
    boxes: np.ndarray | None = None,
) -> list[str]:
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
        cause = "the record has width and height exchanged; correct them"
        if exif_turns(file_name):
            cause = (
                "width and height are exchanged by the file's EXIF orientation, most likely since "
                "the annotation tool did not apply it; set INPUT.EXIF_ORIENTATION ignore, which "
                "takes the pixels as stored, or save the file with its pixels in upright order and "
                "without it"
            )
            if read_image_size(file_name) == tuple(actual):  # taken as stored already
                cause = (
                    "the record's are of the image as its EXIF orientation turns it, but its "
                    "pixels are taken as stored; save the file with its pixels in upright order "
                    "and without it"
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
