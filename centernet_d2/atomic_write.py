"""Files and folders that are either the old one or the new one, never half of one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary local file that takes the place of `path` when the block ends.

    Folders are made as needed. When the block raises or the disk is full, an existing file stays as
    it was and nothing else is left behind.

    Args:
        path: the file.
        mode: "wb", or "w" for UTF-8 text.
    """
    path = os.path.abspath(path)
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.", suffix=".part")
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes private files
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[str]:
    """Make a temporary local folder that takes the place of `path` when the block ends.

    Files of an older folder do not stay. When the block raises or the disk is full, an older folder
    stays as it was and nothing else is left behind.

    Args:
        path: the folder; the ones above it are made as needed.
    """
    path = os.path.abspath(path)
    above, name = os.path.split(path)
    os.makedirs(above, exist_ok=True)
    temporary = tempfile.mkdtemp(dir=above, prefix=f".{name}.", suffix=".part")
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())  # mkdtemp makes private folders
        _take_place(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _take_place(temporary: str, path: str) -> None:
    older = f"{temporary}.old"
    if os.path.isdir(path):  # a folder that holds files cannot be written over in one step
        os.replace(path, older)
    try:
        os.replace(temporary, path)
    except BaseException:
        if os.path.isdir(older):
            os.replace(older, path)
        raise
    shutil.rmtree(older, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
