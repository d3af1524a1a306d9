"""Columns of annotation files: as lists of checked values, and those that a field asks for.

Values that are asked for are kept as the file has them: what lies in pixels is not shifted or
scaled. A column that a file lacks is missing from its records as well; the field that needs it says
so. What every record holds (boxes, categories, joints, sizes) is never read a second time.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...progress import SHOWN
from ..checks import DatasetError, RowsError, examples

logger = logging.getLogger(__name__)

ANNOTATION_COLUMNS: set[str] = set()
IMAGE_COLUMNS: set[str] = set()

_READ_ALWAYS = {
    *("id", "image_id", "category_id", "bbox", "bbox_mode", "iscrowd", "keypoints"),
    *("file_name", "height", "width", "annotations"),
}
_FLAGS = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True, None: False}
# An area of at most _NO_AREA in a box of at least _SOME_BOX square pixels stands for none.
_NO_AREA, _SOME_BOX = 1.0, 100.0
# The key of an annotation that says where it stands, "a.txt, line 3", in files of other forms.
PLACE = "__place__"
# What of a record is shown in messages, where it has it.
_IDENTITY = ("id", "image_id", "file_name", "name")


def keep_annotation_columns(*names: str) -> None:
    """Keep these keys of annotations ("visible_share"), in what is loaded from now on."""
    ANNOTATION_COLUMNS.update(set(names) - _READ_ALWAYS)


def keep_image_columns(*names: str) -> None:
    """Keep these keys of images ("projection"), in what is loaded from now on."""
    IMAGE_COLUMNS.update(set(names) - _READ_ALWAYS)


def kept_columns(records: Sequence[dict], names: set[str]) -> list[dict]:
    """Return, for each record of a file, those of its columns that are asked for."""
    if not names:
        return [{}] * len(records)
    return [{name: record[name] for name in names if name in record} for record in records]


@dataclass(frozen=True)
class Table:
    """One list of records of a JSON file: images, annotations or categories.

    Every method raises DatasetError, naming file, record, key and cure, where a value is not what
    it must be.
    """

    name: str
    records: list[dict]
    source: str
    # Image id -> file name: of annotations whose ids are known to be right, by which they are named
    files: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, content: dict, name: str, source: str) -> Table:
        """The list `name` of a file; [] where it has none."""
        records = content.get(name, [])
        what, wrong = f"'{name}'", records
        if isinstance(records, list):
            row = next((k for k, record in enumerate(records) if type(record) is not dict), None)
            if row is None:
                return cls(name, records, source)
            what, wrong = f"record {row} of '{name}'", records[row]
        shown = "an object" if isinstance(wrong, dict) else _shown(wrong)
        raise DatasetError(
            f"'{source}': {what} is {shown}; '{name}' must be one list of objects {{...}}, without "
            "inner lists, [] where there are none"
        )

    def rows(self, numbers: Iterable[int]) -> Table:
        return replace(self, records=[self.records[number] for number in numbers])

    def describe(self, row: int) -> str:
        """Name a record in messages."""
        record = self.records[row]
        if PLACE in record:
            return record[PLACE]
        if self.files:
            number, image = int(record["id"]), int(record["image_id"])
            return f"annotation id {number} of image id {image} ('{self.files[image]}')"
        shown = {name: record[name] for name in _IDENTITY if name in record}
        return f"record {row} of '{self.name}' {shown}"

    def warn(
        self,
        wrong: Sequence[bool] | np.ndarray,
        what: str,
        cure: str,
        show: Callable[[int], str] = lambda row: "",
    ) -> None:
        """Say of how many records `what` is true, the first of them (after `show`), and a cure."""
        if wrong.any() if isinstance(wrong, np.ndarray) else any(wrong):
            logger.warning(
                "%s: %d of %d %s %s: %s. %s",
                *(self.source, np.sum(wrong), len(wrong), self.name, what),
                *(examples(np.array(wrong), lambda row: show(row) + self.describe(row)), cure),
            )

    def refuse(self, wrong: Iterable[bool] | np.ndarray, key: str, cure: str) -> None:
        """Raise DatasetError where a record is wrong: how many are, and the first of them."""
        rows = np.flatnonzero(wrong if isinstance(wrong, np.ndarray) else list(wrong))
        if not len(rows):
            return
        records = [self.records[row] for row in rows]
        having = [f"'{key}' {_shown(r[key])}" if key in r else f"no '{key}'" for r in records]
        places = [f"'{self.source}': {self.describe(row)}" for row in rows.tolist()]
        others = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        told = [f"{place} has {what}: {cure}" for place, what in zip(places, having, strict=True)]
        raise RowsError(f"{places[0]}{others} has {having[0]}: {cure}", records, told)

    def column(self, key: str) -> list:
        """What each record has under `key`, of which each must have something."""
        try:
            return [record[key] for record in self.records]
        except KeyError:
            missing = (key not in record for record in self.records)
            return self.refuse(missing, key, "add it, COCO's format requires it")

    def whole_numbers(self, key: str) -> np.ndarray:
        values = self.column(key)
        if not all(map(_is_whole, values)):
            cure = "it must be a whole number between -2^63 and 2^63, written without quotes"
            self.refuse((not _is_whole(value) for value in values), key, cure)
        return np.array(list(map(int, values)), dtype=np.int64)

    def ids(self) -> np.ndarray:
        """The column "id" as int64, each only once."""
        found = self.whole_numbers("id")
        _, inverse, counts = np.unique(found, return_inverse=True, return_counts=True)
        cure = f"another one has it too; give each record of '{self.name}' its own 'id'"
        self.refuse(counts[inverse] > 1, "id", cure)
        return found

    def texts(self, key: str) -> list[str]:
        values = self.column(key)
        wrong = (not isinstance(value, str) or not value.strip() for value in values)
        self.refuse(wrong, key, "it must be a text that is not empty")
        return values

    def numbers(self, key: str) -> np.ndarray:
        """A column as float64, NaN where a record has none."""
        values = [record.get(key) for record in self.records]
        wrong = (value is not None and not _is_number(value) for value in values)
        self.refuse(wrong, key, "it must be a number, written without quotes")
        return np.array(values, dtype=np.float64)

    def boxes(self) -> np.ndarray:
        """The column "bbox", four numbers each, as (N, 4) float64."""
        values = self.column("bbox")
        is_box = (type(v) is list and len(v) == 4 and all(map(_is_number, v)) for v in values)
        cure = "it must be four numbers [x, y, width, height], without quotes"
        self.refuse((not good for good in is_box), "bbox", cure)
        return np.array(values, dtype=np.float64).reshape(-1, 4)

    def flags(self, key: str) -> np.ndarray:
        """A column of 0 and 1 as bool, False where it is missing; texts are read, with a warning.

        `bool("0")` would be True.
        """
        values = [record.get(key) for record in self.records]
        texts = [isinstance(value, str) for value in values]
        if any(texts):
            values = [value.lower() if isinstance(value, str) else value for value in values]
        wrong = (isinstance(value, (list, dict)) or value not in _FLAGS for value in values)
        self.refuse(wrong, key, "it must be 0 or 1, written without quotes")
        self.warn(texts, f"have '{key}' as a text, read as 0 or 1", "Write it without quotes")
        return np.array([_FLAGS[value] for value in values], dtype=bool)


def _shown(value: Any) -> str:
    """A value as it stands in the file, shortened."""
    return f"{json.dumps(value, ensure_ascii=False):.80}"


def _is_number(value: Any) -> bool:
    """Whether JSON's value is a number that float64 holds; NaN and infinity are."""
    return type(value) is float or (type(value) is int and abs(value) < 2**1023)


def _is_whole(value: Any) -> bool:
    return type(value) in (int, float) and -(2**63) <= value < 2**63 and value == value // 1


def class_names(table: Table) -> dict[int, str]:
    """Id -> name, sorted by id; names that are numbers become texts, repeated ones are told apart.

    A warning says so.
    """
    if not table.records:
        raise DatasetError(
            f"'{table.source}': 'categories' is missing or empty; add one {{'id': ..., 'name': "
            "...}} per class"
        )
    numbers = [type(name) is int for name in table.column("name")]
    table.warn(numbers, "have a number as name", "It is taken as a text")
    for record in itertools.compress(table.records, numbers):
        record["name"] = str(record["name"])
    names = table.texts("name")
    categories = dict(sorted(zip(table.ids().tolist(), names, strict=True)))
    counts = Counter(names)
    told_apart = {
        identifier: name if counts[name] == 1 else f"{name} (id {identifier})"
        for identifier, name in categories.items()
    }
    table.warn(
        [counts[name] > 1 for name in names],
        "have a name that another one has",
        "They stay classes of their own and are told apart as "
        f"{sorted(set(told_apart.values()) - set(names))}. Give each its own name, or remove those "
        "that are not meant",
    )
    return told_apart


def number_annotations(annotations: Table) -> None:
    """Number the records 1 to N, with a warning, where their ids do not.

    Nothing refers to them: they only name annotations in messages.
    """
    values = [record.get("id") for record in annotations.records]
    if not all(map(_is_whole, values)) or len(set(values)) < len(values):
        told = "%s: 'id' of annotations is missing, repeated or no whole number; they are numbered "
        told += "1 to %d in the order of the file"
        logger.warning(told, annotations.source, len(values))
        for number, record in enumerate(annotations.records, start=1):
            record["id"] = number


def areas(annotations: Table, boxes: np.ndarray) -> np.ndarray:
    """The areas of the file, and width x height where it has none or one that cannot be meant.

    Areas of outlines, such as COCO's own, are anything up to the box; they stay as they are.
    """
    found, products = annotations.numbers("area"), boxes[:, 2] * boxes[:, 3]
    missing = np.array([record.get("area") is None for record in annotations.records], dtype=bool)
    possible = (found > 0) & (found <= 2 * (boxes[:, 2] + 1) * (boxes[:, 3] + 1))
    wrong = ~missing & ~(possible & ((found > _NO_AREA) | (products < _SOME_BOX)))
    if missing.any():
        told = "%s: %d of %d annotations have no 'area'; width x height of 'bbox' is used"
        logger.info(told, annotations.source, missing.sum(), len(missing), extra=SHOWN)
    annotations.warn(
        wrong,
        "have an 'area' that cannot be that of their object",
        "Width x height of 'bbox' is used, for the scores of small, medium and large objects and "
        "for the tolerance of joints. Correct 'area' or leave it out",
        lambda row: f"{found[row]:g} of ",
    )
    return np.where(missing | wrong, products, found)
