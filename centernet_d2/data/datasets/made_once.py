"""Folders that are made on first use: whole or not at all, by one of several processes."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable

from iopath.common.file_io import file_lock

logger = logging.getLogger(__name__)


def make_once(folder: str, marker: str, make: Callable[[str], None]) -> None:
    """Make a folder unless it is there.

    Safe for several processes: one makes it beside its place and renames it, the others wait. What
    an interrupted run left behind is never taken for a finished folder.

    Args:
        folder: where it shall be.
        marker: a file in it, by which a finished folder is known.
        make: fills the existing folder that it is given.

    Raises:
        OSError: the folder cannot be written; the message names it and the cure.
    """
    finished = os.path.join(folder, marker)
    if os.path.isfile(finished):
        return
    parent = os.path.dirname(os.path.abspath(folder))
    try:
        os.makedirs(parent, exist_ok=True)
        with file_lock(folder):
            if not os.path.isfile(finished):
                _make_beside(folder, parent, make)
    except OSError as error:
        raise OSError(
            f"the generated dataset cannot be written to '{folder}' ({error}): make room or set "
            "the environment variable DETECTRON2_DATASETS to a folder that can be written"
        ) from error


def _make_beside(folder: str, parent: str, make: Callable[[str], None]) -> None:
    start = time.perf_counter()
    temporary = tempfile.mkdtemp(prefix=".making-", dir=parent)
    try:
        make(temporary)
        os.chmod(temporary, 0o755)  # mkdtemp's folders are private
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    logger.info("made generated images in %s in %.1f s", folder, time.perf_counter() - start)
