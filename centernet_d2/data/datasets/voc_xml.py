"""One annotation file of VOC's form -> the image's size and its objects."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from functools import lru_cache

from detectron2.utils.file_io import PathManager

from ...text_files import TextFileError, read_text
from ..checks import DatasetError
from ..checks.findings import reads_on
from .coco_file import stamps
from .columns import PLACE
from .label_files import Page

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = dict.fromkeys(("", "0", "0.0", "false", "no", "n"), 0)
_FLAGS |= dict.fromkeys(("1", "1.0", "true", "yes", "y"), 1)

VocObject = tuple[str, tuple[float, ...], int]  # name, `_CORNERS` as in the file, difficult or not


def read_xml(path: str) -> tuple[int, int, Sequence[VocObject]]:
    """Return width, height and objects, read once. Tags count without namespace, in any case.

    Raises:
        DatasetError: it is no XML, lacks an element, or one has a value of no meaning.
    """
    return _content(path, stamps([path]), reads_on())[:3]


@lru_cache(2**15)
def _content(path: str, stamp: tuple, on: bool) -> tuple[int, int, tuple[VocObject, ...], str]:
    """Also the image's name, "" where it says none."""
    root = parse(path)
    sides = [_number(root, f"size/{side}", path) for side in ("width", "height")]
    if not all(1 <= side < 2**31 and side == int(side) for side in sides):
        raise DatasetError(
            f"'{path}': <size> says {sides[0]:g} x {sides[1]:g} pixels: write the width and height "
            "of the image"
        )
    objects = tuple(_object(node, path) for node in root.findall("object"))
    return int(sides[0]), int(sides[1]), objects, root.findtext("filename") or ""


def pages(path: str, stem: str) -> Iterator[Page]:
    """Read a file, see `label_files`; boxes are those of `voc.py`.

    A difficult object is a crowd region: learned, and neither to be found nor false when found.
    """
    width, height, objects, name = _content(path, stamps([path]), reads_on())
    found = []
    for k, (label, (x1, y1, x2, y2), difficult) in enumerate(objects, start=1):
        entry = {"label": label, "box": (x1 - 1, y1 - 1, x2, y2), "iscrowd": difficult}
        found.append({**entry, PLACE: f"'{path}', object {k}"})
    yield Page((stem, name or stem), f"'{path}'", (width, height), found)


def parse(path: str) -> ElementTree.Element:
    """Return the root of an XML file, whose tags are in small letters and without namespace."""
    root = _root(path)
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2].lower()
    return root


def _root(path: str) -> ElementTree.Element:
    with PathManager.open(path, "rb") as file:
        content = file.read()
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        try:  # its bytes may be of another encoding than it says, as Windows tools save them
            return ElementTree.fromstring(read_text(path))
        except (ElementTree.ParseError, TextFileError):
            raise DatasetError(
                f"'{path}' is no valid XML ({error}): it is truncated, in another encoding than "
                "its first line says (UTF-8 where it says none), or another kind of file; copy it "
                "again, or save it as UTF-8"
            ) from error


def _object(node: ElementTree.Element, path: str) -> VocObject:
    name = (node.findtext("name") or "").strip()
    difficult = _FLAGS.get((word := node.findtext("difficult") or "").strip().lower())
    if difficult is None:
        raise DatasetError(
            f"'{path}': <difficult> of object '{name}' is '{word}'; write 0 or 1 (or false, true)"
        )
    corners = tuple(_number(node, f"bndbox/{corner}", path) for corner in _CORNERS)
    for side, low, high in zip("xy", corners[:2], corners[2:], strict=True):
        if high < low - 1 and not reads_on():  # one less is a box of no size
            raise DatasetError(
                f"'{path}': <bndbox> of object '{name}' has {side}max {high:g} < {side}min "
                f"{low:g}: exchange them, or write the corner where this is a width or height"
            )
    return name, corners, difficult


def _number(element: ElementTree.Element, tag: str, path: str) -> float:
    text = element.findtext(tag)
    try:
        return float(text)  # some boxes of VOC 2012 have decimals
    except (TypeError, ValueError):
        what = f"is '{text}'" if text is not None else "is missing"
        name = element.findtext("name")
        where = f"of object '{name}' " if name else ""
        raise DatasetError(
            f"'{path}': <{tag.replace('/', '><')}> {where}{what}; it must be a number. Annotate "
            "the image again, or take it out of the split's list"
        ) from None
