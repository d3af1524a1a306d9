"""Finding annotations that would train silently on garbage; each is named with its cure.

Boxes are COCO's (x, y, width, height) in pixels of the original image. What cannot be meant is an
error; what is only useless (an empty box, a box outside its image) is dropped and counted; a
suspicion is a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# A box may reach over the border by this much before it says anything (annotation tools round).
_TOLERANCE = 1.0
# Share of boxes that leave the image as xywh, but fit as xyxy, from which on the file is suspected.
_XYXY_SHARE = 0.1
# Share of labelled joints far outside their object's box from which on the file is suspected.
_FAR_SHARE = 0.1
_SHOWN = 5


class DatasetError(ValueError):
    """The dataset cannot be used as it is; the message names file, record and key, and the cure."""


@dataclass(frozen=True)
class BoxReport:
    """Outcome of `check_boxes`: rows to keep, counts of what was dropped, and messages to log."""

    keep: np.ndarray  # (N,) bool
    empty: int  # zero width or height
    outside: int  # no part inside the image
    like_xyxy: int  # leave the image as (x, y, width, height) but fit it as (x1, y1, x2, y2)
    messages: tuple[str, ...]


def check_boxes(
    boxes: np.ndarray,
    image_sizes: np.ndarray,
    *,
    source: str,
    describe: Callable[[int], str],
) -> BoxReport:
    """Check N boxes (x, y, width, height) against their images.

    Args:
        boxes: (N, 4) float.
        image_sizes: (N, 2), width and height of the image of each box.
        source: the file that the boxes come from, for messages.
        describe: row -> words that name its image and annotation.

    Raises:
        DatasetError: a box has NaN, infinity or a negative width or height.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    sizes = np.asarray(image_sizes, dtype=np.float64).reshape(-1, 2)

    def listed(rows: np.ndarray) -> str:
        return _examples(rows, lambda row: f"{describe(row)} bbox {boxes[row].tolist()}")

    bad = ~np.isfinite(boxes).all(axis=1)
    if bad.any():
        raise DatasetError(
            f"{source}: {bad.sum()} of {len(boxes)} boxes hold NaN or infinity: {listed(bad)}. "
            "Correct 'bbox' of these annotations or remove them"
        )
    negative = (boxes[:, 2:] < 0).any(axis=1)
    if negative.any():
        raise DatasetError(
            f"{source}: {negative.sum()} of {len(boxes)} boxes have a negative width or height: "
            f"{listed(negative)}. 'bbox' is [x, y, width, height]; subtract the corners in the "
            "other order or remove the annotations"
        )
    empty = (boxes[:, 2:] == 0).any(axis=1)
    end = boxes[:, :2] + boxes[:, 2:]
    outside = ~empty & ((boxes[:, :2] >= sizes).any(axis=1) | (end <= 0).any(axis=1))
    like_xyxy = _like_xyxy(boxes, sizes)
    messages = []
    if like_xyxy.sum() >= max(1, _XYXY_SHARE * len(boxes)):
        messages.append(
            f"{source}: {like_xyxy.sum()} of {len(boxes)} boxes reach over their image as [x, y, "
            f"width, height], but fit it as [x1, y1, x2, y2]: {listed(like_xyxy)}. If 'bbox' holds "
            "two corners, write [x1, y1, x2 - x1, y2 - y1]; training on it as it is gives an AP "
            "near 0"
        )
    if empty.any():
        messages.append(
            f"{source}: dropped {empty.sum()} of {len(boxes)} boxes of zero width or height: "
            f"{listed(empty)}. Correct 'bbox' or remove the annotations to silence this"
        )
    if outside.any():
        messages.append(
            f"{source}: dropped {outside.sum()} of {len(boxes)} boxes that lie outside their "
            f"image: {listed(outside)}. Check 'bbox', and 'width' and 'height' of these images"
        )
    keep = ~(empty | outside)
    return BoxReport(
        keep, int(empty.sum()), int(outside.sum()), int(like_xyxy.sum()), tuple(messages)
    )


def _like_xyxy(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    end = boxes[:, :2] + boxes[:, 2:]
    reaches_over = (end > sizes + _TOLERANCE).any(axis=1) & (boxes[:, :2] >= 0).all(axis=1)
    corners = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return reaches_over & corners & (boxes[:, 2:] <= sizes + _TOLERANCE).all(axis=1)


def check_joints(
    rows: Sequence[Sequence[float]],
    count: int,
    *,
    boxes: np.ndarray,
    image_sizes: np.ndarray,
    source: str,
    describe: Callable[[int], str],
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Check the joints of N annotations; returns (N, J, 3) float64 and messages to log.

    Args:
        rows: per annotation x, y, visibility of its joints one after the other; (): none labelled.
        count: J, joints of the skeleton.
        boxes: (N, 4) x, y, width, height.
        image_sizes: (N, 2) width, height.
        source: the file, for messages.
        describe: row -> words that name its image and annotation.

    Raises:
        DatasetError: a row is no list or has another number of values, or a visibility other than
            0, 1, 2, or a labelled joint at NaN or infinity.
    """
    unlisted = np.array([not isinstance(row, (list, tuple)) for row in rows], dtype=bool)
    if unlisted.any():
        first = rows[int(np.flatnonzero(unlisted)[0])]
        raise DatasetError(
            f"{source}: {unlisted.sum()} of {len(rows)} annotations have 'keypoints' that are no "
            f"list: {_examples(unlisted, describe)}. Of the first they are {first!r}; write x, y "
            "and visibility of one joint after the other"
        )
    wrong = np.array([len(row) not in (0, 3 * count) for row in rows], dtype=bool)
    if wrong.any():
        first = rows[int(np.flatnonzero(wrong)[0])]
        raise DatasetError(
            f"{source}: {wrong.sum()} of {len(rows)} annotations have a wrong number of joints: "
            f"{_examples(wrong, describe)}. 'keypoints' of the first has {len(first)} numbers; "
            f"the category names {count} joints, and each takes three: x, y, visibility"
        )
    try:
        joints = np.array([row or [0] * (3 * count) for row in map(list, rows)], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"{source}: 'keypoints' must be numbers, x, y and visibility of one joint after the "
            f"other without inner lists ({error}). Correct the annotations"
        ) from error
    joints = joints.reshape(len(rows), count, 3)
    strange = ~np.isin(joints[..., 2], (0, 1, 2)).all(axis=1)
    if strange.any():
        first = joints[int(np.flatnonzero(strange)[0]), :, 2]
        raise DatasetError(
            f"{source}: {strange.sum()} of {len(rows)} annotations have a joint whose visibility "
            f"(every third number of 'keypoints') is not 0 (unlabelled), 1 (covered) or 2 "
            f"(visible): {_examples(strange, describe)}: {first.tolist()}. Scores have no place "
            "there; write 2 for joints that are in the image"
        )
    joints[joints[..., 2] == 0] = 0
    bad = ~np.isfinite(joints).all(axis=(1, 2))
    if bad.any():
        raise DatasetError(
            f"{source}: {bad.sum()} of {len(rows)} annotations have labelled joints at NaN or "
            f"infinity: {_examples(bad, describe)}. Correct 'keypoints', or give these joints "
            "visibility 0"
        )
    sizes = np.asarray(image_sizes, dtype=np.float64).reshape(-1, 2)
    return joints, tuple(_far_joints(joints, boxes, sizes, source, describe))


def _far_joints(
    joints: np.ndarray,
    boxes: np.ndarray,
    sizes: np.ndarray,
    source: str,
    describe: Callable[[int], str],
) -> Iterator[str]:
    """Suspicions about labelled joints: outside the image, or nowhere near their own box."""
    labelled = joints[..., 2] > 0
    points = joints[..., :2]
    over = ((points < -_TOLERANCE) | (points > sizes[:, None] - 1 + _TOLERANCE)).any(axis=-1)
    over &= labelled
    if over.any():
        yield (
            f"{source}: {over.sum()} of {labelled.sum()} labelled joints lie outside their image: "
            f"{_examples(over.any(axis=1), describe)}. They are learned where a crop reaches over "
            "the image; give joints that are not in the image visibility 0"
        )
    start, side = boxes[:, None, :2], boxes[:, None, 2:]
    far = ((points < start - side / 2) | (points > start + 1.5 * side)).any(axis=-1) & labelled
    if far.sum() >= max(1, _FAR_SHARE * labelled.sum()):
        yield (
            f"{source}: {far.sum()} of {labelled.sum()} labelled joints lie more than half a box "
            f"outside the box of their object: {_examples(far.any(axis=1), describe)}. Are "
            "'keypoints' x, y, visibility in pixels of the image (not shares, not y, x), and "
            "'bbox' [x, y, width, height]?"
        )


def check_categories(
    used: np.ndarray,
    known: Sequence[int],
    *,
    source: str,
    describe: Callable[[int], str],
) -> None:
    """Raise `DatasetError` where annotations use category ids that the file does not define."""
    unknown = ~np.isin(used, np.asarray(known, dtype=np.int64))
    if unknown.any():
        ids = np.unique(np.asarray(used)[unknown])
        raise DatasetError(
            f"{source}: {unknown.sum()} annotations have a 'category_id' that 'categories' does "
            f"not define: ids {ids[:10].tolist()}, defined are {list(known)[:20]}: "
            f"{_examples(unknown, describe)}. Add the categories or correct the ids"
        )


def check_unique(ids: np.ndarray, *, key: str, source: str) -> None:
    """Raise `DatasetError` where ids occur twice; `key` names them ("images", "annotations")."""
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        twice = values[counts > 1]
        raise DatasetError(
            f"{source}: {len(twice)} ids occur more than once in '{key}': "
            f"{twice[:_SHOWN].tolist()}. Give each record of '{key}' its own 'id'"
        )


def check_image_size(
    file_name: str, recorded: tuple[int, int] | None, actual: tuple[int, int]
) -> None:
    """Raise `DatasetError` where an image file's (width, height) is not what its record says.

    Boxes drawn on an image of another size or orientation would be wrong in silence.
    """
    if recorded is None or tuple(recorded) == tuple(actual):
        return
    cause = (
        "the file was resized or exchanged after annotating; correct 'width', 'height' and the "
        "boxes, or the file"
    )
    if tuple(recorded) == tuple(actual)[::-1]:
        cause = (
            "width and height are exchanged, most likely by an EXIF orientation that the "
            "annotation tool did not apply; save the file with its pixels in upright order and "
            "without EXIF orientation, or annotate the upright image"
        )
    raise DatasetError(
        f"image file '{file_name}' has (width, height) {tuple(actual)}, its dataset record says "
        f"{tuple(recorded)}: {cause}"
    )


def _examples(rows: np.ndarray, describe: Callable[[int], str]) -> str:
    found = np.flatnonzero(rows)
    words = [describe(int(row)) for row in found[:_SHOWN]]
    return "; ".join(words) + ("; ..." if len(found) > _SHOWN else "")
