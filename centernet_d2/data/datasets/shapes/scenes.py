"""What is in a generated picture and where: objects in painter's order, some partly covered.

A scene is a list of records; `render.py` turns it into pixels and annotations. Nothing here knows
colours or files. A later kind of object brings its own painter and, in `extra`, what else is to be
annotated (joints, a pose in space).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from .painters import Layer

COVERED_BELOW = 0.95  # an object whose visible share is below this counts as partly covered


@dataclass(frozen=True)
class SceneSettings:
    """The shares and sizes of the generated scenes, in pixels of a square picture."""

    side: int = 128
    classes: tuple[str, ...] = ("disk", "ring", "square", "diamond", "triangle")
    # Tight boxes of objects have both sides in one of these ranges (low, high): under 1/8, 1/8 to
    # 1/4, over 1/4.
    size_ranges: tuple[tuple[float, float], ...] = ((8.2, 15.8), (16.2, 31.8), (32.2, 64.0))
    max_aspect: float = 1.2
    max_tilt: float = math.radians(8)  # keeps squares and diamonds apart
    objects_per_image: tuple[int, int] = (1, 6)  # of images that have any
    covered_share: float = 0.25
    covered_visibility: tuple[float, float] = (0.65, 0.9)  # visible share of a covered object
    empty_share: float = 0.1
    crowd_share: float = 0.04  # of all images
    truncated_share: float = 0.08  # of objects that may reach over the border
    max_background_bars: int = 2


@dataclass(frozen=True)
class Wish:
    """An object that a scene shall get: class, index of the size range, partly covered or not."""

    kind: str
    size_range: int
    covered: bool


@dataclass
class SceneObject:
    """One drawn thing, later ones over earlier ones."""

    kind: str  # a key of PAINTERS
    layer: Layer
    role: str = "object"  # "object"; not annotated: "crowd" (a member), "occluder", "background"
    size_range: int = -1
    visible: float = 1.0  # share of the mask inside the picture that later things leave visible
    extra: dict = field(default_factory=dict)  # further annotations of this object


@dataclass
class Scene:
    """Objects in painter's order, and the crowd region (x1, y1, x2, y2) if there is one."""

    objects: list[SceneObject] = field(default_factory=list)
    crowd_box: tuple[float, float, float, float] | None = None
    crowd_kind: str = ""


def visible_part(layer: Layer, side: int) -> tuple[slice, slice, np.ndarray]:
    """Return rows, columns and mask of the part that lies inside a (side, side) picture."""
    height, width = layer.alpha.shape
    top, left = max(layer.top, 0), max(layer.left, 0)
    bottom, right = min(layer.top + height, side), min(layer.left + width, side)
    part = layer.alpha[
        max(top - layer.top, 0) : max(bottom - layer.top, 0),
        max(left - layer.left, 0) : max(right - layer.left, 0),
    ]
    return slice(top, max(bottom, top)), slice(left, max(right, left)), part


def clipped_box(
    box: tuple[float, float, float, float], side: int
) -> tuple[float, float, float, float]:
    """Clip (x1, y1, x2, y2) to a (side, side) picture."""
    x1, y1, x2, y2 = (min(max(value, 0.0), float(side)) for value in box)
    return x1, y1, x2, y2
