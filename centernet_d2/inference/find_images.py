"""What a command line names: image and video files, folders, patterns, cameras, each once."""

import glob
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from ..checkpoint.unwrap import shorten

logger = logging.getLogger(__name__)

WRITABLE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
IMAGE_ENDINGS = (*WRITABLE_ENDINGS, ".jfif", ".ppm", ".pgm", ".gif")
VIDEO_ENDINGS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
_NOT_READ = (".heic", ".heif", ".avif", ".jp2", ".dng", ".nef", ".cr2", ".arw", ".pdf")
_LIVE = re.compile(r"(camera:)?\d+|(rtsps?|rtmps?|https?|udp|tcp)://.+", re.IGNORECASE)


def is_live(given: str) -> bool:
    """Whether an input is a camera ("camera:0", "0") or the address of a stream, and no file."""
    return bool(_LIVE.fullmatch(given)) and not os.path.exists(given)


def is_video(path: str) -> bool:
    """Whether an input has frames: a file with a video's ending, a camera or a stream."""
    return path.lower().endswith(VIDEO_ENDINGS) or is_live(path)


def find_images(
    inputs: Sequence[str],
    *,
    excluded_folder: str | None = None,
    left_out: list[str] | None = None,
    option: str = "--input",
) -> list[str]:
    """List the images and videos that paths, folders and patterns name, each once.

    Folders and patterns ("**" crosses folders) give files with a known ending only, sorted; of
    several spellings of one file, links too, the first is taken. Photos of other endings are left
    out, which is told, and added to the list `left_out`. Cameras and streams stay as they are.
    `excluded_folder` is an output folder, whose pictures are no input of a folder that it lies in.
    `option` is what messages call the input.

    Raises:
        FileNotFoundError: an input names nothing.
    """
    files: dict[tuple[int, int, str], str] = {}
    live = dict.fromkeys(given for given in inputs if is_live(given))
    others: list[str] = []  # further names of the same files
    left = [] if left_out is None else left_out  # files that are not read
    for given in inputs:
        if given in live:
            continue
        found = kept = _images_of(given, left)
        if excluded_folder and found != [given] and _lies_in(excluded_folder, given):
            kept = [path for path in found if not _is_below(path, excluded_folder)]
        if not kept:
            besides = f" besides those of --output '{excluded_folder}'" if found else ""
            raise FileNotFoundError(
                f"{option} '{given}' names no image{besides}: no such file, folder with images or "
                f"pattern that matches some (endings {', '.join(IMAGE_ENDINGS)}), nor a video, a "
                "camera such as camera:0 or a stream such as rtsp://..."
                + (f" Not read: {_not_read(left)}" if left else "")
            )
        for path in kept:
            if (first := files.setdefault(_identity(path), path)) != path:
                others.append(f"'{path}' is '{first}'")
    if others:
        told = "Files given twice are predicted once: %d, such as %s."
        logger.warning(told, len(others), "; ".join(others[:3]))
    if left:
        logger.warning("Left out of the input: %s", _not_read(left))
    return [*files.values(), *live]


def _identity(path: str) -> tuple[int, int, str]:
    """What all spellings of one file share, and two files, hard links too, do not."""
    status, real = os.stat(path), os.path.realpath(path)
    return status.st_dev, status.st_ino, unicodedata.normalize("NFC", real).casefold()


def _not_read(left: Sequence[str]) -> str:
    """Say which photos are not read, and what to do."""
    endings = Counter(os.path.splitext(path)[1].lower() for path in left)
    counts = ", ".join(f"{count} {ending}" for ending, count in endings.items())
    return f"{counts} ({shorten(left)}); convert photos to .jpg or .png."


def _images_of(given: str, left: list[str]) -> list[str]:
    """The files that an input names; what is not read is added to `left`."""
    if os.path.isfile(given):
        return [given]
    pattern = os.path.join(glob.escape(given), "**") if os.path.isdir(given) else given
    found = sorted(glob.glob(pattern, recursive=True))
    listed, found = {*left}, [path for path in found if os.path.isfile(path)]
    left += [p for p in found if p.lower().endswith(_NOT_READ) and p not in listed]
    return [path for path in found if path.lower().endswith((*IMAGE_ENDINGS, *VIDEO_ENDINGS))]


def _lies_in(folder: str, given: str) -> bool:
    """Whether a folder is below an input, or below the part of a pattern before its signs."""
    while not os.path.isdir(given) and glob.has_magic(given):
        given = os.path.dirname(given)
    return _is_below(folder, given)


def _is_below(path: str, folder: str) -> bool:
    path, folder = os.path.abspath(path), os.path.abspath(folder)
    return path != folder and os.path.commonpath([path, folder]) == folder
