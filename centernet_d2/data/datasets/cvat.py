"""The XML of "CVAT for images 1.1"; outlines become boxes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

from ..checks import DatasetError
from .columns import PLACE
from .label_files import Page, around, number
from .voc_xml import parse

_CORNERS = ("xtl", "ytl", "xbr", "ybr")


def pages(path: str, stem: str) -> Iterator[Page]:
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
