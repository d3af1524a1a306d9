"""Result files, written whole or not at all, with a message that names them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from ..atomic_write import atomic_write


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
    """Open a text file that takes the place of `path` when the block ends; see `atomic_write`.

    Raises:
        OSError: the file cannot be written; the message names it.
    """
    try:
        with atomic_write(path, "w") as file:
            yield file
    except OSError as error:
        raise OSError(
            error.errno,
            f"Cannot write {path} ({error.strerror}); an older file of that name is unchanged. "
            "Free space or choose another output folder",
        ) from error
