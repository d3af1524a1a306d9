"""The check of dataset dicts that were not made by this package's own readers.

What cannot be meant is an error that names dataset, record, key and cure; what has one meaning only
is brought to the usual form; what is left out is counted in a warning.
"""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from detectron2.structures import BoxMode

from ..checked_values import Rule
from ..progress import SHOWN
from .checks import DatasetError, drop_useless_boxes, examples
from .checks.findings import reads_on
from .images import image_sizes
from .records import Record

logger = logging.getLogger(__name__)

_CORNERS = (BoxMode.XYXY_ABS, BoxMode.XYXY_REL)
_RELATIVE = (BoxMode.XYXY_REL, BoxMode.XYWH_REL)
# By number and by name; rotated boxes are not among them.
_MODES = {key: mode for mode in (*BoxMode,)[:4] for key in (int(mode), mode.name)}


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _shape(value: Any) -> tuple[int, ...]:
    """The shape of numbers; of anything else (0, 0)."""
    try:
        numbers = np.asarray(value)
    except (TypeError, ValueError):
        return (0, 0)
    return numbers.shape if numbers.dtype.kind in "iuf" else (0, 0)


_SIZE = Rule(
    "the number of pixels (left out, it is read from the image file)",
    lambda v: isinstance(v, Real) and 1 <= v < 2**31 and v == v // 1,
)
_FLAG = Rule("0 or 1", lambda v: isinstance(v, (Real, np.bool_)) and v in (0, 1))
_REQUIRED = ("image_id", "category_id", "bbox", "bbox_mode")
_RULES = {
    "image_id": Rule("a whole number or a text", lambda v: _is_whole(v) or isinstance(v, str)),
    "file_name": Rule(
        "the path of the image file",
        lambda v: isinstance(v, (str, os.PathLike)) and bool(os.fspath(v)),
    ),
    "annotations": Rule("a list of dicts, one per object", lambda v: isinstance(v, (list, tuple))),
    "category_id": Rule(
        "the index of the class in thing_classes, from 0",
        lambda v: _is_whole(v) and -1 <= v < 2**31,
    ),
    "bbox": Rule("four numbers", lambda v: _shape(v) == (4,)),
    "keypoints": Rule(
        "x, y, visibility of each joint, three numbers in pixels",
        lambda v: _shape(v)[-1:] == (3,) or (len(_shape(v)) == 1 and _shape(v)[0] % 3 == 0),
    ),
    "bbox_mode": Rule(
        "BoxMode.XYXY_ABS where 'bbox' is [x1, y1, x2, y2] and BoxMode.XYWH_ABS where it is [x, y, "
        "width, height]; rotated boxes have to be converted to one of them",
        lambda v: isinstance(v, (Integral, str)) and v in _MODES,
    ),
    **dict.fromkeys(("height", "width"), _SIZE),
    **dict.fromkeys(("iscrowd", "ignored", "difficult"), _FLAG),
}


def check_records(
    records: Any, *, name: str, num_classes: int | None = None, as_stored: bool = False
) -> list[Record]:
    """Check what a dataset gave, which stays as it is: what has to change is changed in copies.

    `name` begins the messages ("dataset 'mine'"). Category ids are 0 to `num_classes` - 1 (None:
    not known), or -1 of a region that is `ignored` for every class. Where annotated images have no
    height or width, it is read from the file (`as_stored`: before EXIF turns it, as of records that
    say so); relative boxes are multiplied by them.

    Raises:
        DatasetError: see the module.
        FileNotFoundError, ImageFileError: a size is missing, and the image cannot be asked for it.
    """
    if isinstance(records, (str, Mapping)) or not isinstance(records, Iterable):
        raise DatasetError(
            f"{name}: its function returned {records!r:.80}; return a list of dicts, one per image"
        )
    records = list(records)
    if not records:
        raise DatasetError(f"{name} has no images: check its files or the function that lists them")

    def describe(index: int) -> str:
        given = records[index]
        named = given.get("file_name", "no file_name") if isinstance(given, Mapping) else given
        return f"record {index} ('{named!s:.200}')"

    rows = _Rows(records, "records", name, describe)
    _check_images(rows)
    if rows.some_have("annotations", cure="Give images without objects an empty list"):
        _fill_sizes(rows, as_stored)
        _check_annotations(rows, num_classes)
        return records
    return [{k: v for k, v in r.items() if k != "annotations"} for r in records]


class _Rows:
    """Dicts of one kind, checked all at once; `describe` names one for messages."""

    def __init__(self, rows: list, kind: str, source: str, describe: Callable[[int], str]):
        self.rows, self.kind, self.source, self.describe = rows, kind, source, describe
        if not all(issubclass(kind, Mapping) for kind in set(map(type, rows))):
            self.demand([isinstance(r, Mapping) for r in rows], "are no dicts", "Write dicts")

    def demand(
        self, good: Sequence[bool] | np.ndarray, what: str, cure: str, *, show: str = ""
    ) -> None:
        """Raise DatasetError that counts and names the rows that are not good, by a key's value."""

        def describe(k: int) -> str:
            return self.describe(k) + (f" has {self.rows[k][show]!r:.80}" if show else "")

        bad = ~np.asarray(good, dtype=bool)
        if bad.any():
            total = f"{bad.sum()} of {len(bad)} {self.kind}"
            raise DatasetError(f"{self.source}: {total} {what}: {examples(bad, describe)}. {cure}")

    def column(self, key: str) -> list:
        """The value of each row, all of which must be what `_RULES` say; None is as left out."""
        rule, optional = _RULES[key], key not in _REQUIRED
        values = [row.get(key) for row in self.rows]
        try:
            distinct: Iterable = set(values)  # few, in most columns
        except TypeError:
            distinct = values
        if not all(optional if v is None else rule.accepts(v) for v in distinct):
            cure = f"Give each '{key}': {rule.says}"
            if not optional:
                self.demand([v is not None for v in values], f"have no '{key}'", cure)
            good = [v is None or rule.accepts(v) for v in values]
            self.demand(good, f"have a wrong '{key}'", cure, show=key)
        return values

    def some_have(self, key: str, *, cure: str) -> bool:
        """Whether the rows have a key, whose values are checked; all must have it, or none."""
        have = [value is not None for value in self.column(key)]
        if any(have):
            self.demand(have, f"have no '{key}', although others have", cure)
        return any(have)


def _check_images(rows: _Rows) -> None:
    """Check names, sizes and ids, and replace records that have them in other types."""
    ids = rows.column("image_id")
    counts = Counter(ids)
    rows.demand(
        [counts[k] == 1 for k in ids],
        "share an 'image_id', so that detections would be counted for one of them alone",
        "Give each image one of its own",
        show="image_id",
    )
    # A mapper of one's own may have its images from elsewhere.
    rows.some_have("file_name", cure="Give each record the path of its image")
    for key in ("height", "width"):
        rows.column(key)
    for k, record in enumerate(rows.rows):
        file_name = record.get("file_name") or ""
        if not (isinstance(file_name, str) and isinstance(ids[k], (int, str))):
            usual = {"image_id": ids[k] if isinstance(ids[k], str) else int(ids[k])}
            usual |= {"file_name": os.fspath(file_name)} if file_name else {}
            rows.rows[k] = {**record, **usual}


def _fill_sizes(rows: _Rows, as_stored: bool) -> None:
    """Read the size of each image whose record has none."""
    without = [k for k, r in enumerate(rows.rows) if not (r.get("height") and r.get("width"))]
    nameless = {k for k in without if not rows.rows[k].get("file_name")}
    good = [k not in nameless for k in range(len(rows.rows))]
    rows.demand(good, "have no 'height' or 'width', and no 'file_name'", "Add them")
    given = (rows.rows[k] for k in without)
    sizes = image_sizes({r["file_name"]: not r.get("as_stored", as_stored) for r in given})
    for k in without:
        width, height = sizes[rows.rows[k]["file_name"]]
        rows.rows[k] = {**rows.rows[k], "height": height, "width": width}
    if without:
        message = "%s: %d of %d records have no height or width; read from the image files"
        logger.info(message, rows.source, len(without), len(rows.rows), extra=SHOWN)


def _check_annotations(images: _Rows, num_classes: int | None) -> None:
    """Check the annotations of all records; a record that changes is replaced."""
    records, name = images.rows, images.source
    counts = [len(record["annotations"]) for record in records]
    owner = np.repeat(np.arange(len(records)), counts)
    starts = np.cumsum(counts) - counts
    entries = [entry for record in records for entry in record["annotations"]]
    rows = _Rows(
        *(entries, "annotations", name),
        lambda k: f"annotation {k - starts[owner[k]]} of {images.describe(owner[k])}",
    )
    marks = ("iscrowd", "ignored", "difficult")
    crowd, ignored, _ = (np.array(rows.column(key), dtype=bool) for key in marks)
    rows.column("keypoints")
    ids = np.array(rows.column("category_id"), dtype=np.int64)
    cure = f"Give 'category_id': {_RULES['category_id'].says}"
    if num_classes is not None:
        cure += f" to {num_classes - 1} (not counted from 1)"
        rows.demand(ids < num_classes, "are of no class", cure, show="category_id")
    rows.demand((ids >= 0) | ignored, "have 'category_id' -1 and no 'ignored' 1", cure)

    sizes = np.array([(r["width"], r["height"]) for r in records], dtype=float)[owner]
    boxes, unusual = _boxes(rows, sizes)
    uncounted = ignored & ~crowd
    for k in np.flatnonzero(unusual):
        x, y, width, height = boxes[k].tolist()
        corners = {"bbox": [x, y, x + width, y + height], "bbox_mode": BoxMode.XYXY_ABS}
        entries[k] = {**entries[k], **corners}
    for k in np.flatnonzero(uncounted):
        entries[k] = {**entries[k], "iscrowd": 1}
    for index in np.unique(owner[unusual | uncounted]):
        own = slice(starts[index], starts[index] + counts[index])
        records[index] = {**records[index], "annotations": entries[own]}
    told = drop_useless_boxes(records, source=name, describe=images.describe, boxes=boxes)
    if entries and not any(record["annotations"] for record in records):
        raise DatasetError("; ".join([*told, "no box is left"]))


def _boxes(rows: _Rows, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 4) boxes as x, y, width, height in pixels, and (N,) whose 'bbox_mode' is not usual."""
    try:
        boxes = np.array([row["bbox"] for row in rows.rows])
    except (KeyError, TypeError, ValueError):
        boxes = np.zeros(0)
    if boxes.shape != (len(rows.rows), 4) or boxes.dtype.kind not in "iuf":
        boxes = np.array([np.asarray(v) for v in rows.column("bbox")]).reshape(-1, 4)
    boxes = boxes.astype(np.float64)
    modes = rows.column("bbox_mode")
    numbers = np.array([_MODES[mode] for mode in modes])
    corners, relative = np.isin(numbers, _CORNERS), np.isin(numbers, _RELATIVE)
    boxes[relative] *= np.tile(sizes, 2)[relative]
    boxes[corners, 2:] -= boxes[corners, :2]
    rows.demand(
        ~(corners & (boxes[:, 2:] < 0).any(axis=1)) | reads_on(),
        "have x2 < x1 or y2 < y1 by their 'bbox_mode' XYXY_ABS",
        "If 'bbox' holds [x, y, width, height], set 'bbox_mode' to BoxMode.XYWH_ABS, else write "
        "the smaller corner first",
        show="bbox",
    )
    return boxes, relative | np.array([isinstance(mode, str) for mode in modes], dtype=bool)
