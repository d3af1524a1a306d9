"""Rows of KITTI's label, result and calibration files, read and checked one file at a time.

Frame of the left color camera: x to the right, y down, z forward, metres. `location` is the middle
of the box's bottom face, `dimensions` are (height, width, length), `rotation_y` turns around y and
is 0 where the length lies along +x; `alpha` is the heading as the camera sees it
(`rotation_y - atan2(x, z)`). Angles are radians.

Source: the description of the columns that comes with KITTI's object development kit.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.utils.file_io import PathManager

from ...structures.box3d_records import NO_ANGLE, NO_DIMENSION, NO_LOCATION
from ...structures.cameras import checked_projection
from ...text_files import read_text
from ..checks import DatasetError

LABEL_COLUMNS = 15  # a result has the score as column 16
BOX_COLUMNS = 8  # of a label without a 3-D box
PROJECTION_KEY = "P2"  # of the left color camera, whose pictures lie in image_2
RAW_PROJECTION_KEY = "P_rect_02"  # the same in KITTI's raw data
# What KITTI's scores take neither for an object nor for background: type -> the class that it may
# be taken for; None: a region of every class.
NEUTRAL_TYPES: dict[str, str | None] = {
    "Van": "Car",
    "Person_sitting": "Pedestrian",
    "DontCare": None,
}
_LARGEST = 1e12  # of a number: it is computed with in float32
_SHAPES = {12: (3, 4), 9: (3, 3)}  # of a projection with so many numbers
_SEPARATORS = re.compile(r"[,;:=\[\]]")  # of a calibration's names and numbers, beside blanks
_NO_BOX3D = (*[NO_DIMENSION] * 3, *[NO_LOCATION] * 3, NO_ANGLE)
_NAMES = (
    *("truncated", "occluded", "alpha", "left", "top", "right", "bottom"),
    *("height", "width", "length", "x", "y", "z", "rotation_y", "score"),
)


@dataclass(frozen=True)
class KittiObject:
    """One row of a label file or, with a score, of a result file."""

    type: str  # class name as in the file
    truncated: float  # share of the object outside the image, 0..1; -1: not labelled
    occluded: int  # 0 visible, 1 partly, 2 largely occluded, 3 unknown; -1: not labelled
    alpha: float  # -10: not known
    box: tuple[float, float, float, float]  # x1, y1, x2, y2, pixels from 0
    dimensions: tuple[float, float, float]  # height, width, length; -1: none
    location: tuple[float, float, float]  # x, y, z of the bottom centre; -1000: none
    rotation_y: float  # -10: not known
    score: float | None = None  # None in a label


def read_labels(path: str) -> list[KittiObject]:
    """Read a label file (15 columns) or a result file (16: the last is the score).

    A file without rows is an image without objects. A row of 8 columns has no 3-D box: the others
    get KITTI's marks of that (-1, -1000, -10).

    Raises:
        FileNotFoundError, TextFileError: there is no such file, or it is no text.
        DatasetError: a row is none; the message names it.
    """
    lines = enumerate(_lines(path, "label"), start=1)
    return [_parse_row(line, f"'{path}', row {number}") for number, line in lines if line.strip()]


def _parse_row(line: str, where: str) -> KittiObject:
    kind, *texts = line.split()
    if len(texts) + 1 not in (BOX_COLUMNS, LABEL_COLUMNS, LABEL_COLUMNS + 1):
        raise DatasetError(
            f"{where} has {len(texts) + 1} columns. A label has 15 (type, truncated, occluded, "
            "alpha, 4 of the box, 3 dimensions, 3 of the location, rotation_y), or the first 8 of "
            "these where there is no 3-D box, a result 16 (the score); the type has no blanks"
        )
    values = [_number(text, f"{where}: {name}") for text, name in zip(texts, _NAMES, strict=False)]
    values += _NO_BOX3D if len(texts) + 1 == BOX_COLUMNS else ()
    truncated, occluded, alpha, left, top, right, bottom, *rest = values
    if occluded != int(occluded):
        raise DatasetError(
            f"{where}: occluded is {occluded:g}, it must be a whole number: 0 visible, 1 partly, 2 "
            "largely occluded, 3 unknown, -1 not labelled"
        )
    if right < left or bottom < top:
        raise DatasetError(
            f"{where}: the box {(left, top, right, bottom)} ends before it begins; columns 5 to 8 "
            "are its left, top, right and bottom"
        )
    box, *others = (left, top, right, bottom), tuple(rest[:3]), tuple(rest[3:6]), *rest[6:]
    return KittiObject(kind, truncated, int(occluded), alpha, box, *others)


def format_label_row(item: KittiObject) -> str:
    """Write a row as KITTI does, without a line end; a score, where there is one, comes last.

    KITTI writes 2 decimals. A number that rounds to zero is written without a sign.
    """

    def text(values: Sequence[float]) -> list[str]:
        return [f"{round(value, 2) + 0.0:.2f}" for value in values]

    numbers = (item.alpha, *item.box, *item.dimensions, *item.location, item.rotation_y)
    score = [] if item.score is None else text([item.score])
    first = [item.type, *text([item.truncated]), str(item.occluded)]
    return " ".join([*first, *text(numbers), *score])


def read_projection(path: str) -> np.ndarray:
    """Return P2 of a calibration file: (3, 4) float64, camera frame in metres -> image_2's pixels.

    The row is found by its name, wherever it stands; KITTI's raw data names it `P_rect_02`. It has
    12 numbers or, without the fourth column of the matrix, 9. A file that holds nothing but so many
    numbers is that matrix, row by row.

    Raises:
        FileNotFoundError, TextFileError: there is no such file, or it is no text.
        ValueError: it has no such row, or no camera there (see `checked_projection`).
    """
    rows = [_SEPARATORS.sub(" ", line).split() for line in _lines(path, "calibration")]
    for number, (name, *texts) in enumerate((row or [""] for row in rows), start=1):
        if name in (PROJECTION_KEY, RAW_PROJECTION_KEY):
            return _matrix(texts, f"'{path}', row {number} ({name})")
    texts = [text for row in rows for text in row]
    if len(texts) in _SHAPES and texts[0][:1] in "+-.0123456789":
        return _matrix(texts, f"'{path}'")
    raise DatasetError(
        f"'{path}' has no row 'P2: ' with the 12 numbers of the left color camera's 3 x 4 "
        "projection (or 'P_rect_02: ', or the 9 numbers of a 3 x 3 matrix): it is truncated or "
        "another kind of file; copy it again"
    )


def _matrix(texts: Sequence[str], where: str) -> np.ndarray:
    values = [_number(text, where) for text in texts]
    if len(values) not in _SHAPES:
        raise DatasetError(
            f"{where} has {len(values)} numbers instead of the 12 of a 3 x 4 matrix (or the 9 of a "
            "3 x 3 one): the file is truncated or another kind of file; copy it again"
        )
    return checked_projection(np.array(values).reshape(_SHAPES[len(values)]), where)


def _lines(path: str, kind: str) -> list[str]:
    if not PathManager.isfile(path):
        raise FileNotFoundError(
            f"{kind} file '{path}' does not exist: unpack the archive of the {kind} files again, "
            "or take the frame out of the split's list"
        )
    return read_text(path).splitlines()


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < _LARGEST:  # or no number at all
        raise DatasetError(
            f"{where} is '{text}', it must be a finite number: correct it, or copy the file again"
        )
    return value
