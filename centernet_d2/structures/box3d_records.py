"""The 3-D box of an annotation, as dataset records have it -> a checked row of `Boxes3D`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from .boxes3d import wrap_angle

NO_ALPHA = -10.0  # KITTI's mark of an angle that is not known


def box3d_row(annotation: Mapping[str, Any], where: str) -> list[float]:
    """Return x, y, z, height, width, length, rotation_y, alpha of an annotation.

    The annotation has `location`, `dimensions`, `rotation_y` and perhaps `alpha`. Left out, None or
    -10, as KITTI marks it, alpha is `rotation_y - atan2(x, z)`; it is always in [-pi, pi). `where`
    begins the message, such as "image file 'a.png': annotation 0".

    Raises:
        ValueError: a key is missing or has values that no box in front of a camera has.
    """
    x, y, z = _numbers(annotation, "location", 3, where)
    dimensions = _numbers(annotation, "dimensions", 3, where)
    if z <= 0 or min(dimensions) <= 0:
        raise ValueError(
            f"{where} has 'location' {annotation['location']} and 'dimensions' "
            f"{annotation['dimensions']}; z, height, width and length must be positive. An object "
            "beside or behind the camera has no such box: mark it 'ignored': True or remove it"
        )
    (rotation_y,) = _numbers(annotation, "rotation_y", 1, where)
    alpha = rotation_y - math.atan2(x, z)
    if annotation.get("alpha") is not None:
        (given,) = _numbers(annotation, "alpha", 1, where)
        alpha = alpha if given == NO_ALPHA else given
    alpha = wrap_angle(torch.tensor(alpha, dtype=torch.float64)).item()
    return [x, y, z, *dimensions, rotation_y, alpha]


def _numbers(annotation: Mapping[str, Any], key: str, count: int, where: str) -> list[float]:
    try:
        values = np.asarray(annotation[key], dtype=np.float64).reshape(-1)
    except (KeyError, TypeError, ValueError):
        values = np.zeros(0)
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(
            f"{where} has '{key}' {annotation.get(key)!r}; it must be {count} finite number(s). "
            "Write it, or mark the region 'ignored': True: then it is neither object nor background"
        )
    return values.tolist()
