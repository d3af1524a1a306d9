"""Rows of boxes under the column names that are common.

Boxes are corners, or left, top, width and height, in pixels as they stand; without a header rows
are path, x1, y1, x2, y2, class. A row without a box is an image without objects.
"""

import csv
import re
from collections.abc import Iterable

from ...text_files import read_text
from ..checks import DatasetError
from .columns import PLACE
from .label_files import Page, number

# What a column means -> the names that it has, in small letters and digits.
_NAMES = {
    "image": "image filename file imagename imagefile imagepath filepath path imageid img",
    "class": "class label classname labelname category categoryname name",
    "x1": "xmin x1 left xtl bboxxmin", "y1": "ymin y1 top ytl bboxymin",
    "x2": "xmax x2 right xbr bboxxmax", "y2": "ymax y2 bottom ybr bboxymax",
    "x": "x bboxx", "y": "y bboxy", "w": "w bboxw bboxwidth", "h": "h bboxh bboxheight",
    "width": "width imagewidth imgwidth", "height": "height imageheight imgheight",
}  # fmt: skip
_MEANINGS = {name: meaning for meaning, names in _NAMES.items() for name in names.split()}
_NUMBER = re.compile(r"[-+]?\d*[.,]?\d+").fullmatch
_CORNERS, _SIDES = ("x1", "y1", "x2", "y2"), ("x", "y", "w", "h")


def pages(path: str, stem: str) -> Iterable[Page]:
    """Read the table; see `label_files`."""
    text = read_text(path)
    delimiter = max(",;\t|", key=text.partition("\n")[0].count)
    decimal = (",", "," if delimiter == "," else ".")
    lines = enumerate(csv.reader(text.split("\n"), delimiter=delimiter), start=1)
    rows = [(line, [word.strip() for word in row]) for line, row in lines if any(row)]
    header = rows[0][1] if rows else []
    meanings = ["image", *_CORNERS, "class"]
    if not (len(header) == 6 and all(map(_NUMBER, filter(None, header[1:5])))):
        meanings, rows = _meanings(header, path), rows[1:]
    keys, found = _CORNERS if "x1" in meanings else _SIDES, {}
    for line, row in rows:
        place = f"'{path}', line {line}"
        if len(row) != len(meanings):
            raise DatasetError(f"{place}: {len(row)} columns, the header has {len(meanings)}")
        fields = dict(zip(meanings, row, strict=True))
        size = [fields.get(key) for key in ("width", "height")]
        size = tuple(int(number(side, place)) for side in size) if all(size) else None
        page = found.setdefault(fields["image"], Page((fields["image"],), place, size, []))
        if fields["class"] or any(fields[key] for key in keys):
            a, b, c, d = (number(fields[key].replace(*decimal), place) for key in keys)
            box = (a, b, c, d) if keys == _CORNERS else (a, b, a + c, b + d)
            page.objects.append({"label": fields["class"], "box": box, PLACE: place})
    return found.values()


def _meanings(header: list[str], path: str) -> list[str]:
    """What each column means, "" where it is not read; DatasetError says what is not clear."""
    meanings = [_MEANINGS.get(re.sub(r"[\W_]", "", name.lower()), "") for name in header]
    if "x" in meanings and "w" not in meanings:  # the box's, then
        meanings = [{"width": "w", "height": "h"}.get(m, m) for m in meanings]
    there = [what for what in ("image", "class") if what in meanings]
    there += ["box" for keys in (_CORNERS, _SIDES) if set(keys) <= {*meanings}]
    twice = [name for name, m in zip(header, meanings, strict=True) if m and meanings.count(m) > 1]
    if twice or there != ["image", "class", "box"]:
        lacking = " and no ".join(what for what in ("image", "class", "box") if what not in there)
        what = f"the columns {header} have " + (f"no {lacking}" if lacking else "two boxes")
        what = f"the columns {twice} mean the same" if twice else what
        if not header or any(map(_NUMBER, header)):
            what = f"a line with the columns' names must stand above {header}"
        raise DatasetError(
            f"'{path}': {what}. Name them image, class and x1, y1, x2, y2 (corners in pixels) or "
            "x, y, w, h (left, top, width, height), and others otherwise"
        )
    return meanings
