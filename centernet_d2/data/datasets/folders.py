"""Folders of one file per image, and the list of a split: a text file of image names."""

from __future__ import annotations

import os
from collections import Counter

from detectron2.utils.file_io import PathManager

from ...text_files import read_text
from ..checks import DatasetError

CLASS_FILE = "classes.txt"  # in a folder with classes of its own: one name per line
_SHOWN = 3


def files_by_stem(folder: str, *endings: str) -> dict[str, str]:
    """Return file name without ending -> path, of the files with one of these endings."""
    if not PathManager.isdir(folder):
        return {}
    names = [os.path.splitext(name) for name in sorted(PathManager.ls(folder))]
    return {
        stem: os.path.join(folder, stem + ending)
        for stem, ending in names
        if ending.lower() in endings
    }


def read_class_names(folder: str) -> list[str] | None:
    """Return the names that `CLASS_FILE` in a folder lists, one per line; None: there is no file.

    Raises:
        DatasetError: it names no class, or one twice.
    """
    path = os.path.join(folder, CLASS_FILE)
    if not PathManager.isfile(path):
        return None
    names = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    if not names or len(set(names)) < len(names):
        raise DatasetError(
            f"'{path}' must hold the name of each class once, one per line; it holds {names[:20]}"
        )
    return names


def read_split_list(path: str, *, example: str) -> list[str]:
    """Return the names in their order; what follows a name on its line is not read.

    (VOC's lists of one class have a second column: 1, 0 or -1.) `example` is a name as it is to be
    written, for the message.

    Raises:
        DatasetError: the list is empty or names an image twice.
    """
    with PathManager.open(path) as file:
        names = [line.split()[0] for line in file if line.strip()]
    if not names:
        raise DatasetError(f"'{path}' is empty: write one image name per line, such as {example}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DatasetError(
            f"'{path}' names {len(twice)} images more than once: {twice[:_SHOWN]}. Remove the "
            "repetitions"
        )
    return names
