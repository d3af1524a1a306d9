"""Label files of LabelMe (a JSON per image) and CVAT ("for images 1.1"); outlines become boxes."""

import math
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any

from ..checks import DatasetError
from .coco_file import parse_json
from .columns import PLACE
from .label_files import Page, around, number
from .voc_xml import parse

_WITH_EXTENT = ("rectangle", "circle", "polygon", "mask", "oriented_rectangle")
_CORNERS = ("xtl", "ytl", "xbr", "ybr")


def labelme_pages(path: str, stem: str) -> Iterator[Page]:
    """Read a JSON file, see `label_files`; one without shapes is of another kind."""
    content = parse_json(path)
    if isinstance(content, dict) and isinstance(shapes := content.get("shapes"), list):
        size = content.get("imageWidth"), content.get("imageHeight")
        found = [_object(shape, f"'{path}', shape {k}") for k, shape in enumerate(shapes, start=1)]
        kept = [entry for entry in found if not entry["label"].startswith("__")]  # __ignore__
        given = str(content.get("imagePath") or stem)
        beside = os.path.join(os.path.dirname(path), given.replace("\\", "/"))
        names = (stem, given, os.path.normpath(beside))
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


def cvat_pages(path: str, stem: str) -> Iterator[Page]:
    """Read the file; see `label_files`."""
    root = parse(path)
    if root.find("image") is None:
        raise DatasetError(f"'{path}' has no <image>: export 'CVAT for images 1.1', not for video")
    for image in root.iter("image"):
        place, name = f"'{path}', image '{image.get('name')}'", image.get("name", "")
        width, height = (int(number(image.get(key), place)) for key in ("width", "height"))
        shapes = [shape for shape in image if shape.get("label")]
        found = [{"label": s.get("label"), "box": _box(s, place), PLACE: place} for s in shapes]
        yield Page((name,), place, (width, height), found)


def _box(shape: ElementTree.Element, place: str) -> list[float] | None:
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in shape.get("points", "").split(";")]
        return around([[number(value, place) for value in pair] for pair in pairs])
    if shape.tag != "box" or number(shape.get("rotation") or 0, place):
        return None
    return [number(shape.get(key), place) for key in _CORNERS]
