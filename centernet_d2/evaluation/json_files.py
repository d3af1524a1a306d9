"""Result files that are either the old one or the new one, never half of one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


def write_json_atomically(path: str, value: Any, *, indent: int | None = None) -> None:
    """Write `value` as JSON to `path`; see `atomic_file`.

    Raises:
        OSError: the file cannot be written; the message names it.
        ValueError, TypeError: `value` is not JSON (NaN is not).
    """
    with atomic_file(path) as file:
        json.dump(value, file, indent=indent, allow_nan=False)


@contextmanager
def atomic_file(path: str) -> Iterator[TextIO]:
    """Open a temporary text file that takes the place of `path` when the block ends.

    Folders are made as needed. When the block raises or the disk is full, an existing file stays as
    it was and nothing else is left behind.

    Raises:
        OSError: the file cannot be written; the message names it.
    """
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(
        dir=folder, prefix=f".{os.path.basename(path)}.", suffix=".tmp"
    )
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes private files
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError):
            raise OSError(
                error.errno,
                f"Cannot write {path} ({error.strerror}); an older file of that name is unchanged. "
                "Free space or choose another output folder",
            ) from error
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
