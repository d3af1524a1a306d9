"""Folders of one file per image, and the list of a split: a text file of image names."""

import os
import re
from collections import Counter
from collections.abc import Container, Sequence
from pathlib import Path

from detectron2.utils.file_io import PathManager

from ...text_files import read_text
from ..checks import DatasetError

CLASS_FILE = "classes.txt"  # in a folder with classes of its own: one name per line
_SECOND_COLUMN = re.compile(r"\s+(1|0|-1)$")
_SHOWN = 3


def files_by_stem(folder: str, *endings: str) -> dict[str, str]:
    """Return file name without ending -> path, of the files with one of these endings."""
    if not PathManager.isdir(folder):
        return {}
    names = [os.path.splitext(name) for name in sorted(PathManager.ls(folder))]
    kept = ((stem, stem + ending) for stem, ending in names if ending.lower() in endings)
    return {stem: os.path.join(folder, name) for stem, name in kept}


def as_files_are_named(missing: Sequence[str], there: Container[str]) -> str:
    """What the list must say instead where its names have a folder or an ending, or lack zeros."""
    pairs = ((name, meant) for name in missing for meant in (Path(name).stem, name.zfill(6)))
    meant = next((f"'{meant}' for '{name}'" for name, meant in pairs if meant in there), "")
    return f"; the list must have the files' names without ending, {meant}" if meant else ""


def read_class_names(folder: str) -> list[str] | None:
    """Return the names that `CLASS_FILE` in a folder lists, one per line; None: no file."""
    path = os.path.join(folder, CLASS_FILE)
    if not PathManager.isfile(path):
        return None
    names = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    if not names or len(set(names)) < len(names):
        raise DatasetError(
            f"'{path}' must hold the name of each class once, one per line; it holds {names[:20]}"
        )
    return names


def read_split_list(path: str, *, known: Container[str], example: str) -> list[str]:
    """Return the names in their order, one per line, which may hold blanks.

    VOC's lists of one class have a second column, 1, 0 or -1. It is not read, and is no such column
    where the whole line is one of the `known` names, those of files that there are. `example` is a
    name as it is to be written, for the DatasetError of an empty list.
    """
    lines = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    names = [line if line in known else _SECOND_COLUMN.sub("", line) for line in lines]
    if not names:
        raise DatasetError(f"'{path}' is empty: write one image name per line, such as {example}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DatasetError(
            f"'{path}' names {len(twice)} images more than once: {twice[:_SHOWN]}. Remove the "
            "repetitions"
        )
    return names
