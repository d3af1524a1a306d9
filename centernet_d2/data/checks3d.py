"""Finding 3-D labels and cameras that would train silently on garbage; the twin of `checks.py`.

A 3-D box is held against the box in the image that stands beside it: where it projects to another
place, other ways of reading the label are tried, and one that fits clearly better is named with its
cure. Real KITTI labels overlap by 0.97 in the median. N objects in M images.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from ..structures.boxes3d import Boxes3D, project_points
from ..structures.cameras import camera_doubt
from .checks import DatasetError, examples

# Nothing is said of less than this share of the objects: a few slips do not spoil a training.
SUSPECT_SHARE = 0.1
_FEWEST = 3  # objects of which a mix-up can be told
_TRIED = 1000  # objects by which readings are compared, spread over all
_FITS, _UNFIT = 0.9, 0.3  # median overlap of good labels; overlap of an object that is elsewhere
_NEAR = 0.1  # metres; a corner nearer than that has no place in the image
_OTHER_ANGLE = 0.5  # radians between alpha and what it follows from
_MOST_TURNS = 4 * math.pi  # radians that are surely degrees
_LONGEST = 100.0  # metres, of the median object
_PARTS = ("height", "width", "length")
_QUARTER_TURN = ("height", "length", "width")  # looks like it


class Labels3D(NamedTuple):
    """The objects of many images that have a 3-D box and a heading."""

    boxes: np.ndarray  # (N, 4) XYXY, pixels of the files
    boxes3d: np.ndarray  # (N, 8) as `Boxes3D.tensor`
    image: np.ndarray  # (N,) int64, ascending, index of the image
    number: np.ndarray  # (N,) int64, place among the annotations of its image
    sizes: np.ndarray  # (M, 2) width and height
    projections: np.ndarray  # (M, 3, 4), checked ones
    names: tuple[str, ...]  # M, of the files

    def describe(self, row: int) -> str:
        """Where an object is from."""
        return f"'{os.path.basename(self.names[self.image[row]])}' annotation {self.number[row]}"

    def select(self, rows: np.ndarray) -> Labels3D:
        """The objects of `rows`, a mask or index; all images stay."""
        parts = (part[rows] for part in self[:4])
        return Labels3D(*parts, *self[4:])


class Reading(NamedTuple):
    """A way of reading labels."""

    said: tuple[str, ...]  # what is unlike in them, and what to do
    boxes3d: np.ndarray  # (N, 8)
    scale: float = 1.0  # of the first two rows of all projections


def check_labels3d(labels: Labels3D, *, source: str) -> list[str]:
    """Warnings about labels and cameras, of `source`.

    Raises:
        DatasetError: angles are in degrees, dimensions not in metres, or a focal length is not in
            pixels.
    """
    _check_ranges(labels, source)
    messages = _camera_messages(labels, source)
    if len(labels.boxes3d) < _FEWEST:
        return messages
    reading, message = _best_reading(labels)
    messages += [f"{source}: {message}"] if message else []
    message = _alpha_message(labels, reading.boxes3d)
    return messages + ([f"{source}: {message}"] if message else [])


def overlaps(labels: Labels3D, boxes3d: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """(N,) intersection over union of boxes in the image and projected 3-D boxes, both clipped.

    NaN where a corner does not lie in front of the camera. `scale` is that of `Reading`.
    """
    low, high = _projected(labels, boxes3d, scale)
    sizes = labels.sizes[labels.image]
    ends = [np.clip(end, 0, sizes) for end in (low, high, labels.boxes[:, :2], labels.boxes[:, 2:])]
    shared = np.minimum(ends[1], ends[3]) - np.maximum(ends[0], ends[2])
    shared = np.clip(shared, 0, None).prod(axis=1)
    areas = (ends[1] - ends[0]).prod(axis=1) + (ends[3] - ends[2]).prod(axis=1)
    return shared / np.maximum(areas - shared, 1e-9)


def _projected(labels: Labels3D, boxes3d: np.ndarray, scale: float) -> tuple[np.ndarray, ...]:
    """Low and high ends (N, 2) of what the corners cover; NaN where one is not in front."""
    matrices = labels.projections[labels.image] * np.array([[scale], [scale], [1.0]])
    corners = Boxes3D(torch.from_numpy(np.ascontiguousarray(boxes3d))).corners()
    pixels, depth = (part.numpy() for part in project_points(corners, torch.from_numpy(matrices)))
    pixels = np.where((depth > _NEAR).all(axis=1)[:, None, None], pixels, np.nan)
    return pixels.min(axis=1), pixels.max(axis=1)


def _check_ranges(labels: Labels3D, source: str) -> None:
    angles = labels.boxes3d[:, 6:]
    turned = (np.abs(angles) > _MOST_TURNS).any(axis=1)
    if turned.any():
        found = examples(turned, lambda row: f"{labels.describe(row)} {angles[row].tolist()}")
        raise DatasetError(
            f"{source}: 'rotation_y' or 'alpha' of {turned.sum()} of {len(angles)} objects are "
            f"beyond two full turns: {found}. They are radians; multiply degrees by pi / 180"
        )
    longest = labels.boxes3d[:, 3:6].max(axis=1)
    if len(longest) and np.median(longest) > _LONGEST:
        raise DatasetError(
            f"{source}: the longest side of objects is {np.median(longest):g} in the median, such "
            f"as 'dimensions' {labels.boxes3d[0, 3:6].tolist()} of {labels.describe(0)}. Divide "
            "millimetres by 1000 and centimetres by 100, of locations too: all are metres"
        )


def _camera_messages(labels: Labels3D, source: str) -> list[str]:
    doubts = []
    for name, size, matrix in zip(labels.names, labels.sizes, labels.projections, strict=True):
        where = f"{source}, image file '{name}': 'projection'"
        try:
            doubts.append(camera_doubt(matrix, (int(size[1]), int(size[0])), where))
        except ValueError as error:
            raise DatasetError(str(error)) from error
    doubtful = np.array([bool(doubt) for doubt in doubts], dtype=bool)
    if not doubtful.any():
        return []
    found = examples(doubtful, lambda row: f"'{labels.names[row]}' {doubts[row]}")
    return [
        f"{source}: the cameras of {doubtful.sum()} of {len(doubts)} images may not be theirs: "
        f"{found}. 'projection' leads to the pixels of the file as it is now; of an image that was "
        "resized or cropped multiply or shift its first two rows likewise"
    ]


def _best_reading(labels: Labels3D) -> tuple[Reading, str]:
    """The labels as they are or as they fit clearly better, and what to say of that; or ""."""
    given = Reading((), labels.boxes3d)
    fit = overlaps(labels, labels.boxes3d)
    # What reaches beside the camera says nothing; what lies behind it does not fit.
    fit = np.where(labels.boxes3d[:, 2] > 0, fit, 0.0)
    known = np.isfinite(fit)
    unfit = known & (np.nan_to_num(fit) < _UNFIT)
    if known.sum() < _FEWEST:
        return given, ""
    median = float(np.median(fit[known]))
    told = (
        f"of {known.sum()} objects the box in space, projected, overlaps the box in the image by "
    )
    told += f"{median:.2f} in the median"
    if median < _FITS:
        rows = np.unique(np.linspace(0, len(fit) - 1, min(_TRIED, len(fit))).astype(np.int64))
        better, reached = _better_reading(labels.select(rows), median)
        if better is not None:
            whole = next(r for r in readings(labels) if r.said == better.said)
            return whole, f"{told}, and by {reached:.2f} if {' and '.join(better.said)}"
    if unfit.sum() < SUSPECT_SHARE * known.sum():
        return given, ""
    found = examples(unfit, lambda row: f"{labels.describe(row)} {fit[row]:.2f}")
    return given, (
        f"{told}, and {unfit.sum()} hardly or not at all: {found}. Check 'location' (middle of the "
        "bottom face; x right, y down, z forward; metres), 'dimensions' (height, width, length) "
        "and 'projection' (to pixels of these files); tools/visualize_data.py draws them"
    )


def _better_reading(labels: Labels3D, median: float) -> tuple[Reading | None, float]:
    """The simplest of the readings that fit best, where that is clearly better than `median`."""
    found = [
        (float(np.median(np.nan_to_num(overlaps(labels, r.boxes3d, r.scale)))), r)
        for r in readings(labels)
    ]
    best = max(value for value, _ in found)
    if best < 0.6 or 1 - best > (1 - median) / 2:
        return None, best
    value, reading = min(
        ((value, r) for value, r in found if value >= best - 0.02),
        key=lambda pair: len(pair[1].said),
    )
    return (reading, value) if reading.said else (None, value)


def readings(labels: Labels3D) -> Iterator[Reading]:
    """The labels as they are, mixed up in one way or several at once, or of a resized image."""
    given = labels.boxes3d
    for order, place, middle, turn in itertools.product(
        itertools.permutations(_PARTS), _PLACES, (False, True), (False, True)
    ):
        said = [place] * bool(place)
        boxes = given.copy()
        if order != _PARTS:
            turned = " (or 'rotation_y' is a quarter turn off)" * (order == _QUARTER_TURN)
            written = ", ".join(order)
            said.append(f"'dimensions' are {written}{turned}: write height, width, length")
            boxes[:, 3:6] = given[:, [3 + order.index(part) for part in _PARTS]]
        boxes[:, :3] = given[:, :3] @ _PLACES[place].T
        if middle:
            said.append("'location' is the middle of the box: add half its height to y")
            boxes[:, 1] += boxes[:, 3] / 2
        if turn:
            said.append("'rotation_y' turns the other way: change its sign")
            boxes[:, 6] *= -1
        yield Reading(tuple(said), boxes)
    low, high = _projected(labels, given, 1.0)
    widths = (labels.boxes[:, 2] - labels.boxes[:, 0]) / np.maximum(high - low, 1e-9)[:, 0]
    if np.isfinite(widths).any():
        scale = float(np.nanmedian(widths))
        said = (
            f"the images were resized after their calibration: multiply the first two rows of "
            f"'projection' by {scale:.2f}"
        )
        yield Reading((said,), given, scale)


def _alpha_message(labels: Labels3D, boxes3d: np.ndarray) -> str:
    alpha, rotation = labels.boxes3d[:, 7], labels.boxes3d[:, 6]
    expected = boxes3d[:, 6] - np.arctan2(boxes3d[:, 0], boxes3d[:, 2])
    given = rotation - np.arctan2(labels.boxes3d[:, 0], labels.boxes3d[:, 2])
    wrong = (_between(alpha, expected) > _OTHER_ANGLE) & (boxes3d[:, 2] > 0)
    wrong &= _between(alpha, given) > 1e-6  # else it was left out
    if wrong.sum() < SUSPECT_SHARE * len(alpha):
        return ""
    cause = ""
    if (alpha[wrong] == alpha[wrong][0]).all():
        cause = f" It is {alpha[wrong][0]:g} in all of them."
    elif np.median(_between(alpha, rotation)) < _OTHER_ANGLE / 10:
        cause = " It repeats rotation_y."
    found = examples(wrong, lambda r: f"{labels.describe(r)} {alpha[r]:.2f} for {expected[r]:.2f}")
    return (
        f"'alpha' of {wrong.sum()} of {len(alpha)} objects is not rotation_y - atan2(x, z): {found}"
        f".{cause} Headings will be learned wrongly; leave alpha out (or write -10) where it is "
        "not known, and it follows from rotation_y and location"
    )


def _between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Size of the angle between directions, radians."""
    return np.abs((first - second + math.pi) % (2 * math.pi) - math.pi)


# Axes and units of 'location': (3, 3) from what is written to x right, y down, z forward in metres.
_PLACES = {
    "": np.eye(3),
    "'location' has the axes of a lidar (x forward, y left, z up): write (-y, -z, x)": np.array(
        [[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]
    ),
    "'location' has y up and z backward: write (x, -y, -z)": np.diag([1.0, -1, -1]),
    "'location' is in centimetres: divide it by 100": np.eye(3) / 100,
    "'location' is in millimetres: divide it by 1000": np.eye(3) / 1000,
}
