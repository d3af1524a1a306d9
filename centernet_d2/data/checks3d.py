"""Finding 3-D labels and cameras that would train silently on garbage; the twin of `checks.py`.

A 3-D box is held against the box in the image that stands beside it: where it projects to another
place, other ways of reading the labels are tried, and one that fits clearly better is named with
its cure. Real KITTI labels overlap by 0.97 in the median. N objects in M images.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from ..structures.box3d_records import NO_ANGLE
from ..structures.boxes3d import Boxes3D, project_points
from ..structures.cameras import camera_doubt
from ..structures.padded_images import LEAST_LOST, Size, canvas_of_whole, lost_share, shown_side
from .checks import DatasetError, examples

_SUSPECT_SHARE = 0.1  # nothing is said of less: a few slips do not spoil a training
_FEWEST = 3  # objects of which a mix-up can be told
_TRIED = 1000  # objects by which readings are compared, spread over all
_FITS, _UNFIT = 0.9, 0.3  # median overlap of good labels; overlap of an object that is elsewhere
_NEAR = 0.1  # metres; a corner nearer than that has no place in the image
_OTHER_ANGLE = 0.2  # radians between alpha and what it follows from
_MOST_TURNS = 4 * math.pi  # radians; more are surely degrees
_LONGEST = 100.0  # metres, of the median object
_DIVISOR = 32  # of the sides of most networks' frames
_PARTS = ("height", "width", "length")
_LIDAR = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
# From 'location' as it is written to x right, y down, z forward in metres.
_PLACES = {
    "": np.eye(3),
    "'location' has the axes of a lidar (x forward, y left, z up): write (-y, -z, x)": _LIDAR,
    "'location' has y up and z backward: write (x, -y, -z)": np.diag([1.0, -1, -1]),
    "'location' is in centimetres: divide it by 100": np.eye(3) / 100,
    "'location' is in millimetres: divide it by 1000": np.eye(3) / 1000,
}


class Labels3D(NamedTuple):
    """Objects of many images; those without a 3-D box have `NO_BOX3D`."""

    boxes: np.ndarray  # (N, 4) XYXY, pixels of the files
    boxes3d: np.ndarray  # (N, 8) as `Boxes3D.tensor`
    image: np.ndarray  # (N,) int64, index of the image; -1: of one without a camera
    number: np.ndarray  # (N,) int64, place among the annotations of its image
    sizes: np.ndarray  # (M, 2) width and height, of images with a camera
    projections: np.ndarray  # (M, 3, 4), checked ones
    names: tuple[str, ...]  # M, of the files

    def describe(self, row: int) -> str:
        """Where an object is from."""
        return f"'{os.path.basename(self.names[self.image[row]])}' annotation {self.number[row]}"

    def select(self, rows: np.ndarray) -> Labels3D:
        """The objects of `rows`, a mask or index; all images stay."""
        return Labels3D(*(part[rows] for part in self[:4]), *self[4:])


class NetworkFrame(NamedTuple):
    """How images come into a frame of fixed size: centred, at one scale."""

    size: Size
    fit: str  # see `structures.padded_images.shown_side`
    key: str  # of the config, that says `size`


def check_labels3d(
    labels: Labels3D, *, frame: NetworkFrame | None = None, trained: bool = True
) -> list[str]:
    """Warnings about labels and cameras, what is not `trained`, and what `frame` does not show.

    ValueError where units are wrong, or not one object to be trained has a 3-D box.
    """
    known = (labels.boxes3d[:, 3] > 0) & (labels.boxes3d[:, 6] != NO_ANGLE) & (labels.image >= 0)
    placed = labels.select(known)
    _check_ranges(placed)
    found = [_camera_message(labels)]
    if known.sum() >= _FEWEST:
        found.append(_fit_message(placed) or _alpha_message(placed))
    if trained:
        found.append(_unlearned_message(labels, found[-1]))
    if frame is not None:
        found.append(_frame_message(labels, frame, trained=trained))
    return [message for message in found if message]


def overlaps(labels: Labels3D, boxes3d: np.ndarray) -> np.ndarray:
    """(N,) intersection over union of boxes in the image and projected 3-D boxes, both clipped.

    NaN where a corner does not lie in front of the camera.
    """
    corners = Boxes3D(torch.from_numpy(np.ascontiguousarray(boxes3d))).corners()
    projections = torch.from_numpy(labels.projections[labels.image])
    pixels, depth = (part.numpy() for part in project_points(corners, projections))
    pixels = np.where((depth > _NEAR).all(axis=1)[:, None, None], pixels, np.nan)
    ends = [pixels.min(axis=1), pixels.max(axis=1), labels.boxes[:, :2], labels.boxes[:, 2:]]
    low, high, left, right = (np.clip(end, 0, labels.sizes[labels.image]) for end in ends)
    shared = np.clip(np.minimum(high, right) - np.maximum(low, left), 0, None).prod(axis=1)
    areas = (high - low).prod(axis=1) + (right - left).prod(axis=1)
    return shared / np.maximum(areas - shared, 1e-9)


def _check_ranges(labels: Labels3D) -> None:
    angles, longest = labels.boxes3d[:, 6:], labels.boxes3d[:, 3:6].max(axis=1)
    turned = (np.abs(angles) > _MOST_TURNS).any(axis=1)
    if turned.any():
        found = examples(turned, lambda row: f"{labels.describe(row)} {angles[row].tolist()}")
        raise DatasetError(
            f"'rotation_y' or 'alpha' of {turned.sum()} of {len(angles)} objects are beyond two "
            f"full turns: {found}. They are radians; multiply degrees by pi / 180"
        )
    if len(longest) and np.median(longest) > _LONGEST:
        raise DatasetError(
            f"the longest side of objects is {np.median(longest):g} in the median, such as "
            f"'dimensions' {labels.boxes3d[0, 3:6].tolist()} of {labels.describe(0)}. Divide "
            "millimetres by 1000 and centimetres by 100, of locations too: all are metres"
        )


def _camera_message(labels: Labels3D) -> str:
    cameras = zip(labels.names, labels.sizes.astype(int).tolist(), labels.projections, strict=True)
    doubts = [
        camera_doubt(matrix, (height, width), f"image file '{name}': 'projection'")
        for name, (width, height), matrix in cameras
    ]
    doubtful = np.array([bool(doubt) for doubt in doubts], dtype=bool)
    found = examples(doubtful, lambda row: f"'{labels.names[row]}' {doubts[row]}")
    return found and (
        f"the cameras of {doubtful.sum()} of {len(doubts)} images may not be theirs: {found}. "
        "'projection' leads to the pixels of the file as it is now; of an image that was resized "
        "or cropped multiply or shift its first two rows likewise"
    )


def _fit_message(labels: Labels3D) -> str:
    # What reaches beside the camera says nothing; what lies behind it does not fit.
    fit = np.where(labels.boxes3d[:, 2] > 0, overlaps(labels, labels.boxes3d), 0.0)
    known = np.isfinite(fit)
    if known.sum() < _FEWEST:
        return ""
    median, unfit = float(np.median(fit[known])), known & (np.nan_to_num(fit) < _UNFIT)
    told = f"of {known.sum()} objects the box in space, projected, overlaps the box in the image"
    told += f" by {median:.2f} in the median"
    if median < _FITS:
        rows = np.unique(np.linspace(0, len(fit) - 1, min(_TRIED, len(fit))).astype(np.int64))
        cures, reached = _best_reading(labels.select(rows))
        if cures and 1 - reached < (1 - median) / 2:
            return f"{told}, and by {reached:.2f} if {' and '.join(cures)}"
    if unfit.sum() < _SUSPECT_SHARE * known.sum():
        return ""
    found = examples(unfit, lambda row: f"{labels.describe(row)} {fit[row]:.2f}")
    return (
        f"{told}, and {unfit.sum()} hardly or not at all: {found}. Check 'location' (middle of the "
        "bottom face; x right, y down, z forward; metres), 'dimensions' (height, width, length) "
        "and 'projection' (to pixels of these files); `centernet-d2 visualize-data` draws them"
    )


def _best_reading(labels: Labels3D) -> tuple[list[str], float]:
    """What is unlike in the simplest of the readings that fit best, and its median overlap."""
    found = [
        (float(np.median(np.nan_to_num(overlaps(labels, boxes3d)))), cures)
        for cures, boxes3d in readings(labels.boxes3d)
    ]
    good = max(reached for reached, _ in found) - 0.02
    reached, cures = min((pair for pair in found if pair[0] >= good), key=lambda p: len(p[1]))
    return cures, reached


def readings(given: np.ndarray) -> Iterator[tuple[list[str], np.ndarray]]:
    """(N, 8) labels as they are, and mixed up in one way or several; with what is to be done."""
    orders, either = itertools.permutations(_PARTS), (False, True)
    for order, place, middle, turn in itertools.product(orders, _PLACES, either, either):
        boxes, cures = given.copy(), [place] * bool(place)
        boxes[:, :3] = given[:, :3] @ _PLACES[place].T
        if order != _PARTS:
            also = " (or 'rotation_y' is a quarter turn off)" * (order[0] == "height")
            cures.append(f"'dimensions' are {', '.join(order)}{also}: write height, width, length")
            boxes[:, 3:6] = given[:, [3 + order.index(part) for part in _PARTS]]
        if middle:
            cures.append("'location' is the middle of the box: add half its height to y")
            boxes[:, 1] += boxes[:, 3] / 2
        if turn:
            cures.append("'rotation_y' turns the other way: change its sign")
            boxes[:, 6] *= -1
        yield cures, boxes


def _alpha_message(labels: Labels3D) -> str:
    x, z, rotation, alpha = labels.boxes3d[:, [0, 2, 6, 7]].T
    expected = rotation - np.arctan2(x, z)
    between = np.abs((alpha - expected + math.pi) % (2 * math.pi) - math.pi)
    wrong = between > _OTHER_ANGLE
    if wrong.sum() < _SUSPECT_SHARE * len(alpha):
        return ""
    found = examples(wrong, lambda r: f"{labels.describe(r)} {alpha[r]:g} for {expected[r]:.2f}")
    return (
        f"'alpha' of {wrong.sum()} of {len(alpha)} objects is not rotation_y - atan2(x, z): {found}"
        ". Headings will be learned wrongly; leave alpha out (or write -10) where it is not known, "
        "and it follows from rotation_y and location"
    )


def _unlearned_message(labels: Labels3D, why: str) -> str:
    places, count = labels.boxes3d[:, :3].tolist(), len(labels.boxes3d)
    without = (labels.boxes3d[:, 3] <= 0) | (labels.boxes3d[:, 2] <= 0)
    unknown = ~without & (labels.boxes3d[:, 7] == NO_ANGLE)
    if count and without.all():
        raise DatasetError(
            f"not one of {count} objects has a 3-D box in front of the camera, which the point "
            "task 'box3d' learns from. Write 'location', 'dimensions' and 'rotation_y', or take "
            f"'box3d' out of MODEL.POINTS_CENTERNET.TASKS{'. ' * bool(why)}{why}"
        )
    found = examples(without | unknown, lambda k: f"{labels.describe(k)} location {places[k]}")
    return found and (
        f"of {count} objects {without.sum()} have no 3-D box in front of the camera and are "
        f"learned as boxes in the image alone, {unknown.sum()} have no known heading (rotation_y "
        f"and alpha -10), which is not learned: {found}"
    )


def _frame_message(labels: Labels3D, frame: NetworkFrame, *, trained: bool) -> str:
    sizes = [(int(height), int(width)) for width, height in labels.sizes]
    sides = [shown_side(size, frame.size, frame.fit) for size in sizes]
    shares = [lost_share(size, frame.size, side) for size, side in zip(sizes, sides, strict=True)]
    cut = np.array(shares) > LEAST_LOST
    if not cut.any():
        return ""
    rows = labels.select(labels.image >= 0)
    half = np.array(sides)[rows.image, None] * (1, frame.size[0] / frame.size[1]) / 2
    first, last = (rows.boxes.reshape(-1, 2, 2) - rows.sizes[rows.image, None] / 2).swapaxes(0, 1)
    outside = (np.abs(first + last) / 2 > half).any(axis=1) & cut[rows.image]
    # Published training learns the middle of what is left of them.
    partly = outside & ((first < half) & (last > -half)).all(axis=1)
    learned = f", of which {partly.sum()} are learned at the middle of the part inside" * trained
    worst = int(np.argmax(shares))
    of_cut = [size for size, is_cut in zip(sizes, cut, strict=True) if is_cut]
    whole = canvas_of_whole(of_cut, frame.size, _DIVISOR, frame.fit)
    return (
        f"{frame.key} {list(frame.size)} does not show all of {cut.sum()} of {len(cut)} images; on "
        f"average {np.mean(np.array(shares)[cut]):.0%} of them is cut ({shares[worst]:.0%} of "
        f"'{labels.names[worst]}', {sizes[worst][1]} x {sizes[worst][0]}), and the middle of "
        f"{outside.sum()} of {len(outside)} objects lies outside{learned}. INPUT.TRAIN_SIZE and "
        f"TEST.FIXED_SIZE {list(whole)} (height, width) show everything"
    )
