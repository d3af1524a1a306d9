"""The 3-D box of an annotation, as dataset records and label files have it -> a row of `Boxes3D`.

KITTI's marks of what is not known hold everywhere, in training and in scores:

- a location of -1000, a dimension of -1 (any that is not positive: it says no extent), or none of
  the three keys at all: no 3-D box, and no orientation either. The object is one in the image.
- an alpha or a rotation_y of -10: the one follows from the other and the location; without both
  the orientation is not known.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

NO_LOCATION, NO_DIMENSION, NO_ANGLE = -1000.0, -1.0, -10.0
NO_BOX3D: np.ndarray = np.array([NO_LOCATION] * 3 + [NO_DIMENSION] * 3 + [NO_ANGLE] * 2)
_LARGEST = 1e12  # metres or radians: it is computed with in float32
_KEYS = ("location", "dimensions", "rotation_y")


def box3d_row(annotation: Mapping[str, Any], where: str) -> list[float]:
    """Return x, y, z, height, width, length, rotation_y, alpha of an annotation, or `NO_BOX3D`.

    The annotation has `location`, `dimensions`, `rotation_y` and perhaps `alpha` (see the module
    for what may be left out). Alpha is in [-pi, pi), the location perhaps behind the camera.
    `where` ("image file 'a.png': annotation 0") begins the ValueError of what is no number.
    """
    if all(annotation.get(key) is None for key in _KEYS):
        return [float(value) for value in NO_BOX3D]
    location, dimensions = (_numbers(annotation, key, 3, where) for key in _KEYS[:2])
    (rotation_y,) = _numbers(annotation, "rotation_y", 1, where)
    alpha = NO_ANGLE
    if annotation.get("alpha") is not None:
        (alpha,) = _numbers(annotation, "alpha", 1, where)
    if NO_LOCATION in location or min(dimensions) <= 0:
        return [float(value) for value in NO_BOX3D]
    ray = math.atan2(location[0], location[2])
    if alpha == NO_ANGLE and rotation_y != NO_ANGLE:
        alpha = rotation_y - ray
    elif rotation_y == NO_ANGLE and alpha != NO_ANGLE:
        rotation_y = _wrapped(alpha + ray)
    alpha = alpha if alpha == NO_ANGLE else _wrapped(alpha)
    return [*location, *dimensions, rotation_y, alpha]


def _wrapped(angle: float) -> float:
    """As `boxes3d.wrap_angle`, of one number and without a tensor."""
    wrapped = max(angle - 2 * math.pi * math.floor((angle + math.pi) / (2 * math.pi)), -math.pi)
    return wrapped if wrapped < math.pi else wrapped - 2 * math.pi


def _numbers(annotation: Mapping[str, Any], key: str, count: int, where: str) -> list[float]:
    try:
        values = np.asarray(annotation[key], dtype=np.float64).reshape(-1)
    except (KeyError, TypeError, ValueError, OverflowError):
        values = np.zeros(0)
    if len(values) != count or not (np.abs(values) < _LARGEST).all():
        raise ValueError(
            f"{where} has '{key}' {annotation.get(key)!r}; it must be {count} finite number(s). "
            f"Write it, leave {', '.join(_KEYS)} out of an object that has no 3-D box, or mark the "
            "region 'ignored': True: then it is neither object nor background"
        )
    return values.tolist()
