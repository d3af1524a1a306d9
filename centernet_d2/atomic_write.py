"""Files and folders that are either the old one or the new one, never half of one."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file that takes the place of `path` when the block ends.

    Folders are made as needed. When the block raises or the disk is full, an existing file stays as
    it was and nothing else is left behind.

    Args:
        path: a local file, or an address of a remote store ("s3://...") that detectron2's
            PathManager writes: such a store has no rename, its own put is all or nothing.
        mode: "wb", or "w" for UTF-8 text.

    Raises:
        OSError: the file cannot be written; the message names it and the cure.
    """
    path = os.fspath(path)
    with _explained(path), _opened(path, mode) as stream:
        yield stream


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = (
            f"Cannot write {path} ({error.strerror or error}); what was there before is "
            "unchanged. Free space or choose another output folder"
        )
        raise (OSError(error.errno, message) if error.errno else OSError(message)) from error


def write_json(path: str | os.PathLike[str], value: Any, *, indent: int | None = None) -> None:
    """Write `value` as JSON; see `atomic_write`.

    Raises:
        OSError: the file cannot be written.
        ValueError, TypeError: `value` is not JSON (NaN is not).
    """
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=indent, allow_nan=False)


@contextmanager
def _opened(path: str, mode: str) -> Iterator[IO[Any]]:
    if "://" in path:
        from detectron2.utils.file_io import PathManager

        with PathManager.open(path, mode) as stream:
            yield stream
        return
    folder, name = os.path.split(os.path.abspath(path))
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

    Raises:
        OSError: something in it cannot be written; the message names the folder and the cure.
    """
    path = os.path.abspath(path)
    above, name = os.path.split(path)
    with _explained(path):
        os.makedirs(above, exist_ok=True)
        temporary = tempfile.mkdtemp(dir=above, prefix=f".{name}.", suffix=".part")
        try:
            yield temporary
            os.chmod(temporary, 0o777 & ~_umask())  # mkdtemp makes private folders
            _replace_folder(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _replace_folder(temporary: str, path: str) -> None:
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
