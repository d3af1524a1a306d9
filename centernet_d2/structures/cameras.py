"""Projections: 3 x 4 matrices from the camera frame, in metres, to pixels; what they must hold."""

from typing import Any

import numpy as np
from torch import Tensor

_LARGEST = 1e12  # of any entry: it is computed with in float32
_NO_ROTATION = 1e-4  # radians; more would put a point 100 m to the side off by a centimetre
# Focal length over image width. A pinhole camera of 0.02 would see 175 degrees.
_POSSIBLE, _LIKELY = (0.02, 100.0), (0.2, 10.0)
# Distance of the principal point from the image's middle, of width and height (sky may be cut off).
_OFF_MIDDLE = (0.2, 0.3)


def checked_projection(projection: Any, where: str) -> np.ndarray:
    """Return a projection as (3, 4) float64 whose depth is in metres, or raise ValueError.

    3 x 3 intrinsics get a fourth column of zeros, a fourth row 0, 0, 0, 1 is left out. Points in
    front of the camera must come out with a positive depth, so that focal lengths and the entry in
    row 3, column 3 are positive; by the latter all is divided. The depth must be that along z: a
    matrix with a rotation in it is one of points in another frame. A skew is allowed. `where`
    begins the message, such as "image file 'a.png': 'projection' of its record".
    """
    if isinstance(projection, Tensor):
        projection = projection.detach().cpu().numpy()
    try:
        matrix: np.ndarray = np.asarray(projection, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{where} is no matrix of numbers ({error}): write 3 x 4 numbers"
        ) from error
    if matrix.shape == (4, 4) and np.array_equal(matrix[3], (0, 0, 0, 1)):
        matrix = matrix[:3]
    if matrix.shape == (3, 3):
        matrix = np.pad(matrix, ((0, 0), (0, 1)))
    if matrix.shape != (3, 4) or not (np.abs(matrix) < _LARGEST).all():
        raise ValueError(
            f"{where} must be 3 x 4 (or 3 x 3) finite numbers, has shape {matrix.shape}: write the "
            "matrix that takes (x, y, z, 1) in metres to pixels, "
            "[[fx, 0, cx, 0], [0, fy, cy, 0], [0, 0, 1, 0]]"
        )
    across, down, along = matrix.diagonal().tolist()
    if min(across, down, along) <= 0:
        raise ValueError(
            f"{where} has focal lengths {across:g} and {down:g} and {along:g} in row 3, column 3; "
            "all must be positive: x points to the right, y down and z forward"
        )
    matrix = matrix / along
    if not np.abs(matrix[2, :2]).max() <= _NO_ROTATION:
        raise ValueError(
            f"{where} begins row 3 with {matrix[2, 0]:g} and {matrix[2, 1]:g}, which must be 0: "
            "fold no rotation in, give the boxes in the frame of the camera that looks along z "
            "(and write the matrix row by row, not transposed)"
        )
    return matrix


def looking_at_middle(focal_length: float, size: tuple[int, int]) -> np.ndarray:
    """The projection (3, 4) of a camera that looks at the middle of an image of (height, width).

    The focal length is in pixels; 0 is the middle of the first pixel.
    """
    y, x = ((side - 1) / 2 for side in size)
    return np.array([[focal_length, 0, x, 0], [0, focal_length, y, 0], [0, 0, 1, 0]])


def camera_doubt(projection: np.ndarray, size: tuple[float, float], where: str) -> str:
    """Why a checked projection (3, 4) may not be that of an image of `size` (height, width); or "".

    ValueError, which `where` begins, of a focal length that cannot be one in pixels of that image.
    """
    height, width = size
    (focal, down), (x, y) = projection[[0, 1], [0, 1]], projection[:2, 2]
    for length in (focal, down):
        if not _POSSIBLE[0] * width <= length <= _POSSIBLE[1] * width:
            raise ValueError(
                f"{where} has a focal length of {length:g} pixels, which no image {width:g} pixels "
                "wide is seen by. Write it in pixels of the image file: millimetres of the lens "
                "times the image's width over the sensor's width in millimetres, or a share of the "
                "image's width times that width"
            )
    off = abs(x - width / 2) / width, abs(y - height / 2) / height
    if any(distance > limit for distance, limit in zip(off, _OFF_MIDDLE, strict=True)):
        inside = 0 <= x < width and 0 <= y < height
        place = "far from the middle of" if inside else "outside"
        return (
            f"the principal point ({x:.0f}, {y:.0f}) lies {place} its {width:g} x {height:g} pixels"
        )
    if not _LIKELY[0] * width <= focal <= _LIKELY[1] * width:
        return f"a focal length of {focal:g} pixels is unusual for {width:g} pixels of width"
    return ""
