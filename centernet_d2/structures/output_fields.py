"""What is done with the fields of detections, by name: an open registry.

A detector or point task that adds a field registers it here, beside its own code, and the output
frame, JSON files and pictures follow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

Scale = tuple[float, float]
"""(x, y)"""
Instances = Any
"""detectron2's, which this room does not import"""


@dataclass(frozen=True)
class OutputField:
    """What is done with one field of `Instances`; None: nothing.

    Attributes:
        scale: (value, (sx, sy)) -> the value in an image that is so many times as large, a new
            object. Needed by fields in pixels of the image.
        record: `Instances` that have the field -> for each row a dictionary that a JSON file can
            hold, added to the row's record.
        draw: draws the field of `Instances` on an image (H, W, 3) uint8 BGR, in place.
    """

    scale: Callable[[Any, Scale], Any] | None = None
    record: Callable[[Instances], list[dict[str, Any]]] | None = None
    draw: Callable[[np.ndarray, Instances], None] | None = None


OUTPUT_FIELDS: dict[str, OutputField] = {}
"""Field name -> what is done with it."""


def register_output_field(name: str, **uses: Callable[..., Any]) -> None:
    """Say what is done with a field: `scale`, `record` and `draw` of `OutputField`.

    Raises:
        ValueError: the name is taken.
    """
    if name in OUTPUT_FIELDS:
        raise ValueError(f"the output field '{name}' is registered already; take another name")
    OUTPUT_FIELDS[name] = OutputField(**uses)


def scale_boxes(boxes: Any, scale: Scale) -> Any:
    """detectron2's `Boxes` in an image that is `scale` times as large."""
    boxes = boxes.clone()
    boxes.scale(*scale)
    return boxes


def scale_points(points: Tensor, scale: Scale) -> Tensor:
    """Points (K, ..., 2 or more), x, y and whatever follows them, likewise.

    They count from the edge of the first pixel, so that a factor is all they need.
    """
    points = points.clone()
    points[..., 0] *= scale[0]
    points[..., 1] *= scale[1]
    return points


register_output_field("pred_boxes", scale=scale_boxes)
register_output_field("pred_centers", scale=scale_points)  # of the triplet detector
