"""One kind of fault in a dataset with its number, examples and cure; and reading on past faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from . import RowsError

# A training would stop or learn what is wrong; it would go on, but hardly as meant; worth knowing.
SEVERITIES = ("error", "warning", "note")
SHOWN = 5  # examples that are kept
_ANEW = "Copy them again, or leave them out (DATASETS.SKIP_UNREADABLE True, --fix)"
_ONE_EACH = "Keep one of each, as --fix does"
_ONE = "Keep pictures of one scene in one split"
_NAME = "Give them one name, else each learns from its own part of the objects"
_LARGER = "Show pictures larger or in tiles"
# fmt: off
# Beside those of `judge_boxes`: kind -> severity, what, cure.
KINDS = {
    "missing": ("error", "image files do not exist", "Put them there, or correct the folder"),
    "unreadable": ("error", "image files cannot be used, as they cannot be read", _ANEW),
    "truncated": ("error", "image files cannot be used, as cut off or damaged", _ANEW),
    "size": ("error", "image files are not as large as annotated", "--fix trusts the file"),
    "cut-off": ("warning", "pictures end in one color, as if cut off", _ANEW),
    "exif": ("note", "pictures have an EXIF orientation, here {0}", "--fix turns them and boxes"),
    "copy": ("warning", "pictures are copies of another one", _ONE_EACH),
    "near-copy": ("note", "pictures look nearly as another one does", "Look whether they are one"),
    "leak": ("warning", "pictures are in '{0}', too", "Take them out of training, as --fix does"),
    "near-leak": ("warning", "pictures look nearly as one in '{0}' does", _ONE),
    "name": ("note", "pictures have the name, but for marks of copies, of one in '{0}'", _ONE),
    "over-border": ("note", "boxes reach over their image", "Training clips them, and --fix"),
    "tiny": ("note", "boxes have a side under 2 pixels", "Remove slips of the mouse"),
    "whole-image": ("note", "boxes cover their whole image", "Check that the objects do"),
    "repeated-box": ("warning", "boxes have the class and the place of another one", _ONE_EACH),
    "two-classes": ("note", "boxes have the place of one of another class", "Keep what is meant"),
    "no-objects": ("warning", "classes have no object", "Take them out: their AP is not defined"),
    "rare-class": ("note", "classes have under 10 objects, or 1/100 of the largest's", "Add some"),
    "like-names": ("warning", "class names are another's but for case, blanks or marks", _NAME),
    "empty": ("note", "images have no object", "Leave out those that were only not annotated"),
    "crowded": ("warning", "images have more objects than the {0} found or scored", "Raise {1}"),
    "colliding": ("warning", "objects have their center in the cell of a larger one {0}", _LARGER),
    "under-two-cells": ("warning", "objects are smaller than two cells of the output {0}", _LARGER),
}
# fmt: on
Result = TypeVar("Result")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Example:
    """One place of a finding."""

    file: str
    object: int | None = None  # place among the annotations of its image, from 0
    value: str = ""

    def __str__(self) -> str:
        place = f"object {self.object}" if self.object is not None else ""
        return " ".join(filter(None, [f"'{self.file}'" * bool(self.file), place, self.value]))


@dataclass(frozen=True)
class Finding:
    """What was found, of one kind, in one dataset or between two."""

    kind: str  # of `KINDS` or `judge_boxes`; "value", "reading", "dataset": what a reader says
    severity: str  # one of `SEVERITIES`
    count: int
    what: str  # "3 of 40 boxes have ..."
    examples: tuple[Example, ...] = ()
    cure: str = ""  # one sentence
    dataset: str = ""
    left_out: tuple[str, ...] = ()  # by a reader, each

    @classmethod
    def of(
        cls, kind: str, places: Sequence[Example], total: int, *values: object, **changed: Any
    ) -> list[Finding]:
        """The finding of these places among `total`; [] where there are none.

        `values` fill the gaps of `KINDS`, whose texts `changed` fields replace.
        """
        severity, what, cure = (text.format(*values) for text in KINDS.get(kind, ("", "", "")))
        told, shown = f"{len(places)} of {total} {what}", tuple(places[:SHOWN])
        found = cls(kind, severity, len(places), told, shown, cure)
        return [replace(found, **changed)] if places else []

    def __str__(self) -> str:
        shown = "; ".join(map(str, self.examples)) + "; ..." * (self.count > len(self.examples) > 0)
        told = ": ".join(filter(None, [self.dataset, self.what, shown]))
        return told + f". {self.cure}." * bool(self.cure)


_noted: ContextVar[list[Finding] | None] = ContextVar("noted", default=None)


@contextmanager
def reading_on() -> Iterator[list[Finding]]:
    """Within it readers keep boxes as files have them, and leave out and note what they refuse."""
    token = _noted.set(found := [])
    try:
        yield found
    finally:
        _noted.reset(token)


def notes() -> list[Finding]:
    """Those of the innermost `reading_on`, or [] that is lost."""
    return [] if (found := _noted.get()) is None else found


def reads_on() -> bool:
    """Whether `reading_on` is in force."""
    return _noted.get() is not None


def refuse(error: Exception) -> None:
    """Note an error, of whose rows none is used; raise it where reading does not go on."""
    if (found := _noted.get()) is None:
        raise error
    told = tuple(getattr(error, "told", ())) or (str(error),)
    found.append(Finding("value", "error", len(told), str(error), left_out=told))


def without_refused(read: Callable[[], Result], *tables: list[Any]) -> Result:
    """Return what `read` does; within `reading_on` without the rows of `tables` that it refuses."""
    while True:
        try:
            return read()
        except RowsError as error:
            refused, sizes = set(map(id, error.rows)), sum(map(len, tables))
            for table in tables if reads_on() else ():
                table[:] = [row for row in table if id(row) not in refused]
            if sum(map(len, tables)) == sizes:
                raise
            refuse(error)


def readable(read: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield what `read` makes of each; within `reading_on` without those that it refuses."""
    told: list[str] = []
    for item in items:
        try:
            found = read(item)
        except ValueError as error:
            if not reads_on():
                raise
            told.append(str(error))
        else:
            yield found
    if told:
        refuse(RowsError("; ".join(told[:SHOWN]) + "; ..." * (len(told) > SHOWN), told=told))
