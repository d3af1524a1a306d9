"""Every image file of a dataset is looked at before anything is computed with it."""

import logging
import os
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from ..progress import bar
from .checks import check_image_size
from .images import read_image, read_image_size

logger = logging.getLogger(__name__)

# How closely a file is looked at; each level includes those before it.
LEVELS = ("none", "exist", "ends", "header", "bytes", "decode")
# First bytes of a format -> what a whole file of it ends with.
_ENDS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND\xaeB`\x82", b"GIF8": b";"}
_SCAN_FROM = 50  # names of one folder from which on it is listed instead of asked for each
_CHUNK = 128  # files that a thread takes at once
_SAMPLE = 100  # files whose sizes are compared in any case
_READ_ALL = 4e9  # bytes of all files up to which "ends" does as "bytes": seconds of reading
# Markers of JPEG that may follow a segment, beside the last one (D9); stuffed bytes and restarts,
# which are no ends of a segment.
_JPEG_GOES_ON = {*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}
_JPEG_INSIDE = np.isin(np.arange(256), [0x00, *range(0xD0, 0xD8), 0xFF])


class Faults(NamedTuple):
    """Rows of a list of records whose image files cannot be used."""

    missing: list[int]
    unusable: dict[int, Exception]  # row -> what is wrong, with the file's name and the cure


def find_faults(records: Sequence[dict[str, Any]], level: str) -> Faults:
    """Look at the records' local image files, as closely as `level` says, one of `LEVELS`.

    "exist" asks for the files alone, folder by folder. "ends" also looks at the first and last
    bytes of each; only a file that does not look whole is decoded. "header" compares the size in
    every file's header with the record's, "bytes" reads all files, and "decode" all pixels. "ends"
    does as "header" where one of 100 files, evenly spaced, has a fault: wrong sizes are seldom
    alone; and as "bytes" where all files, by these 100, have at most `_READ_ALL` bytes. An address
    ("s3://...") is left to the loader, which names it where it cannot be read.
    """
    if level == "none":
        return Faults([], {})
    names = [str(record.get("file_name") or "://") for record in records]
    local = [row for row, name in enumerate(names) if "://" not in name]
    absent = missing_files(names[row] for row in local)
    missing = [row for row in local if names[row] in absent]
    if level == "exist":
        return Faults(missing, {})
    rows = [row for row in local if names[row] not in absent]
    sample = rows[:: -(-len(rows) // _SAMPLE) or 1] if level == "ends" else []
    if any(fault_of(names[row], records[row], "header") for row in sample):
        level = "header"
    mean = sum(os.path.getsize(names[row]) for row in sample) / max(len(sample), 1)
    if sample and mean * len(rows) <= _READ_ALL:
        level = "bytes"
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]

    def look(chunk: list[int]) -> dict[int, Exception]:
        found = {row: fault_of(names[row], records[row], level) for row in chunk}
        return {row: fault for row, fault in found.items() if fault is not None}

    unusable: dict[int, Exception] = {}
    shown = {"what": "Image files", "unit": "file", "unit_scale": _CHUNK}
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
        for found in bar(pool.map(look, chunks), total=len(chunks), **shown):
            unusable |= found
    return Faults(missing, unusable)


def united(found: Sequence[Faults]) -> Faults:
    """Return the faults that any machine found, each on its own disk, in the records' order."""
    unusable = {row: fault for faults in found for row, fault in faults.unusable.items()}
    missing = {row for faults in found for row in faults.missing}
    return Faults(sorted(missing), {row: unusable[row] for row in sorted(unusable)})


def missing_files(names: Iterable[str]) -> set[str]:
    """Return those of the local files that do not exist."""
    folders: dict[str, set[str]] = defaultdict(set)
    for name in names:
        folders[os.path.dirname(name)].add(name)
    absent: set[str] = set()
    for folder, files in folders.items():
        if len(files) >= _SCAN_FROM and os.path.isdir(folder or "."):
            with os.scandir(folder or ".") as entries:
                present = {entry.name for entry in entries if entry.is_file()}
            absent.update(name for name in files if os.path.basename(name) not in present)
        else:
            absent.update(name for name in files if not os.path.isfile(name))
    return absent


def has_whole_ends(file_name: str) -> bool | None:
    """Whether a file begins and ends as a whole image does; None where its format does not say."""
    with open(file_name, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(12)
        file.seek(max(size - 12, 0))
        end = file.read(12)
    for first, last in _ENDS.items():
        if start.startswith(first):
            return end.endswith(last)
    if start.startswith(b"RIFF") and start.endswith(b"WEBP"):
        return size >= 8 + int.from_bytes(start[4:8], "little")
    if start.startswith(b"BM"):
        return size >= max(int.from_bytes(start[2:6], "little"), 26)
    return None


def looks_whole(file_name: str) -> bool | None:
    """Whether all bytes of a file are in the order of its format; None: that does not say.

    Of JPEG the chain of segments up to the end is followed (Pillow refuses most damage that breaks
    it, OpenCV reads on), of PNG the checksums are compared. No pixel is decoded.
    """
    with open(file_name, "rb", buffering=0) as file:
        content = file.read()
    place = 8
    if content.startswith(b"\x89PNG"):
        while (kind := content[place + 4 : place + 8]) and kind != b"IEND":
            end = place + 8 + int.from_bytes(content[place : place + 4])
            if zlib.crc32(content[place + 4 : end]) != int.from_bytes(content[end : end + 4]):
                return False
            place = end + 4
        return bool(kind)
    if not content.startswith(b"\xff\xd8\xff"):
        return None
    values, place = np.frombuffer(content, dtype=np.uint8), 2
    marks = np.flatnonzero(values[:-1] == 0xFF)
    for mark in marks[~_JPEG_INSIDE[values[marks + 1]]].tolist():
        if mark < place:  # inside a segment
            continue
        if (kind := content[mark + 1]) not in _JPEG_GOES_ON:
            return kind == 0xD9
        place = mark + 2 + int.from_bytes(content[mark + 2 : mark + 4])
    return False


def fault_of(file_name: str, record: dict[str, Any], level: str) -> Exception | None:
    """What is wrong with an existing file, or None."""
    size, upright = (record.get("width"), record.get("height")), not record.get("as_stored", False)
    try:
        whole = has_whole_ends(file_name)
        if level == "bytes":  # what may begin or end anyhow (TIFF) is decoded
            whole = bool(whole) and looks_whole(file_name) is not False
        decodes = level == "decode" or whole is False
        if not decodes and (level != "ends" or whole is None):
            found = read_image_size(file_name, upright=upright)
            decodes = level != "ends" and None not in size and found != size  # to be sure
        if decodes:
            height, width = read_image(file_name, upright=upright).shape[:2]
            if level != "ends" and None not in size:
                check_image_size(file_name, size, (width, height))
    except (OSError, ValueError) as error:
        return error
    return None


def check_image_files(
    records: Sequence[dict[str, Any]], faults: Faults, *, source: str, skip: bool | None = None
) -> list[dict[str, Any]]:
    """Return the records whose files can be used, given the `faults` of all.

    `source` (config key and dataset) begins the messages. With `skip` the others are left out and
    counted in a warning; None: that is no choice.

    Raises:
        FileNotFoundError: files are missing, and `skip` is not set; the message says how many,
            which, and the cure.
        ValueError: likewise, files cannot be read or are not as their records say, or none is left.
    """
    total, wrong = len(records), {*faults.missing, *faults.unusable}
    if not wrong:
        return list(records)
    told = f"{source}:"
    if faults.missing:
        names = [str(records[row]["file_name"]) for row in faults.missing]
        folder, most = Counter(map(os.path.dirname, names)).most_common(1)[0]
        state = "" if os.path.isdir(folder or ".") else ", which does not exist"
        told += (
            f" {len(names)} of {total} image files do not exist, first '{names[0]}'; {most} of "
            f"them in folder '{folder or '.'}'{state}."
        )
    if faults.unusable:
        first = next(iter(faults.unusable.values()))
        told += f" {len(faults.unusable)} of {total} image files cannot be used, first: {first}."
    if skip and len(wrong) < total:
        logger.warning("%s All %d are left out (DATASETS.SKIP_UNREADABLE).", told, len(wrong))
        return [record for row, record in enumerate(records) if row not in wrong]
    if faults.missing:
        told += " Put them there, or correct the image folder given with the dataset."
    if skip is False:
        told += " Or set DATASETS.SKIP_UNREADABLE True to train without them."
    if len(faults.missing) == total:
        told += " File names that only a mapper of your own can read: DATASETS.CHECK_IMAGES 'none'."
    raise (FileNotFoundError if faults.missing else ValueError)(told)
