"""LabelMe's JSON files, one per image; outlines become boxes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ..checks import DatasetError
from .coco_file import parse_json
from .columns import PLACE
from .label_files import Page, around, number

_WITH_EXTENT = ("rectangle", "circle", "polygon", "mask", "oriented_rectangle")


def pages(path: str, stem: str) -> Iterator[Page]:
    """Read a JSON file, see `label_files`; one without shapes is of another kind."""
    content = parse_json(path)
    if isinstance(content, dict) and isinstance(shapes := content.get("shapes"), list):
        size = content.get("imageWidth"), content.get("imageHeight")
        found = [_object(shape, f"'{path}', shape {k}") for k, shape in enumerate(shapes, start=1)]
        kept = [entry for entry in found if not entry["label"].startswith("__")]  # __ignore__
        names = (stem, str(content.get("imagePath") or stem))
        yield Page(names, f"'{path}'", size if all(size) else None, kept)


def _object(shape: dict, place: str) -> dict[str, Any]:
    try:
        kind, label = shape.get("shape_type") or "polygon", str(shape["label"])
        points = [[number(value, place) for value in pair] for pair in shape["points"]]
        if kind == "circle":  # the middle and a point on the line
            radius, (x, y) = math.dist(*points), points[0]
            points = [[x - radius, y - radius], [x + radius, y + radius]]
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{place} lacks a label or points [[x, y], ...]: correct it") from error
    return {"label": label, "box": around(points) if kind in _WITH_EXTENT else None, PLACE: place}
