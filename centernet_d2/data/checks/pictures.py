"""Image files -> findings: which cannot be read, are of another size, are the same, or leak."""

import hashlib
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image

from ...progress import bar
from ..image_files import LEVELS, fault_of, find_faults
from ..images import ImageFileError, decode, eight_bit, read_image_size
from .findings import Example, Finding

SIDE = 16  # of a thumbnail
ALIKE = 0.97  # correlation of thumbnails; coded anew or scaled 0.99, others of bccd, VOC, COCO 0.91
FLAT = 0.05  # share of the height, from the bottom, of one value; not one of 639 photos has 0.03
# What is added to the name of a picture that is made of another.
_MARKS = re.compile(r"(\.rf\.[0-9a-f]{8,}|[ _-]*(copy|aug|flip|rot)[ _-]*\d*|\s*\(\d+\))+$")


class Pictures(NamedTuple):
    """What is seen of the image files of M records."""

    files: list[str]  # M
    errors: dict[int, Exception]  # row -> why it is of no use; FileNotFoundError: not there
    orientations: np.ndarray  # (M,) of EXIF; 1: upright
    thumbnails: np.ndarray  # (M, SIDE**2) of mean 0 and length 1; 0: not looked at, or without form
    flat: np.ndarray  # (M,) share of the height, from the bottom, that is of one value
    digests: dict[int, str]  # row -> of the content

    def copies(self) -> dict[int, int]:
        """Row -> the first one of equal content."""
        first: dict[str, int] = {}
        pairs = {row: first.setdefault(self.digests[row], row) for row in sorted(self.digests)}
        return {row: other for row, other in pairs.items() if row != other}


def look(records: Sequence[dict[str, Any]], level: str) -> Pictures:
    """Look at all files as `level` of `image_files.LEVELS` says; from "ends" on also at pixels.

    Pillow decodes JPEG at an eighth of its size for that, and fails where it does at the full one.
    """
    files, faults = [str(r.get("file_name") or "") for r in records], find_faults(records, level)
    errors = dict.fromkeys(faults.missing, FileNotFoundError()) | faults.unusable
    thumbnails = np.zeros((len(files), SIDE**2), dtype=np.float32)
    seen = Pictures(files, errors, np.ones(len(files), int), thumbnails, np.zeros(len(files)), {})

    def see(row: int) -> None:
        try:
            _see(files[row], row, seen)
        except Exception as error:  # of many kinds; told as it will be in a training
            errors[row] = fault_of(files[row], records[row], "decode") or error

    known = range(len(files)) if LEVELS.index(level) >= LEVELS.index("ends") else ()
    rows = [row for row in known if files[row] and "://" not in files[row] and row not in errors]
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
        for _ in bar(pool.map(see, rows), total=len(rows), what="Pictures", unit="file"):
            pass
    return seen


def _see(file: str, row: int, seen: Pictures) -> None:
    """Fill in what is seen of one file."""
    with open(file, "rb") as stream:
        content = stream.read()
    with Image.open(io.BytesIO(content)) as image:
        image.draft("L", (4 * SIDE, 4 * SIDE))
        decode(image, file)
        with suppress(Exception):
            seen.orientations[row] = image.getexif().get(ExifTags.Base.Orientation, 1)
        gray = eight_bit(image, image.format or "", file).convert("L")
    pixels = np.asarray(gray, dtype=np.int16)
    differs = (np.abs(pixels - pixels[-1, -1]) > 2).any(axis=1)[::-1]
    if image.format == "JPEG" and differs[-1]:  # else its whole background is so
        seen.flat[row] = np.argmax(differs) / len(differs)
    small = np.asarray(gray.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32).ravel()
    small -= small.mean()
    if (length := np.linalg.norm(small)) > 2 * SIDE:  # else it shows nothing to compare
        seen.thumbnails[row] = small / length
    seen.digests[row] = hashlib.sha1(content, usedforsecurity=False).hexdigest()


def judge_pictures(records: Sequence[dict[str, Any]], seen: Pictures) -> list[Finding]:
    """What is wrong with the files of one dataset."""
    told: dict[str, dict[int, str]] = defaultdict(dict)
    for row, error in sorted(seen.errors.items()):
        file, kind = seen.files[row], "missing" if isinstance(error, FileNotFoundError) else "size"
        said = str(error).removeprefix(f"image file '{file}' ")
        if isinstance(error, ImageFileError):
            kind = "unreadable"
            with suppress(ImageFileError, OSError):
                kind = "truncated" if min(read_image_size(file)) and "trunc" in said else kind
            if kind == "truncated":  # OpenCV, which many tools read with, may not mind
                said += "; OpenCV reads it" * (cv2.imread(file) is not None)
        told[kind][row] = said
    for kind, rows in {"exif": seen.orientations > 1, "cut-off": seen.flat > FLAT}.items():
        told[kind] = dict.fromkeys(np.flatnonzero(rows).tolist(), "")
    copies = seen.copies()
    told["copy"] = {row: f"as '{seen.files[other]}'" for row, other in copies.items()}
    for first, row in alike(seen.thumbnails, seen.thumbnails):
        if first < row and not {first, row} & copies.keys():
            told["near-copy"][row] = f"as '{seen.files[first]}'"
    as_stored = any(records[row].get("as_stored") for row in told["exif"])
    exif = "not applied (pixels as stored)" if as_stored else "applied"
    found = []
    for kind, rows in told.items():
        places = [Example(seen.files[row], None, value) for row, value in rows.items()]
        found += Finding.of(kind, places, len(records), exif)
    return found


def alike(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs of rows of (M, K) and (N, K) thumbnails that look alike."""
    for start in range(0, len(first), 256):
        a, b = np.nonzero(first[start : start + 256] @ second.T >= ALIKE)
        yield from zip((a + start).tolist(), b.tolist(), strict=True)


def judge_leaks(train: Pictures, test: Pictures, name: str) -> list[Finding]:
    """What pictures to be trained on have of those of a test dataset of this name."""
    content = {digest: row for row, digest in test.digests.items()}
    stems = {_stem(file): row for row, file in enumerate(test.files)}
    same = {row: content[key] for row, key in train.digests.items() if key in content}
    near = {a: b for a, b in alike(train.thumbnails, test.thumbnails) if a not in same}
    names = {row: stem for row, file in enumerate(train.files) if (stem := _stem(file)) in stems}
    named = {row: stems[s] for row, s in names.items() if s and row not in {*same, *near}}
    found = []
    for kind, pairs in {"leak": same, "near-leak": near, "name": named}.items():
        told = [Example(train.files[a], None, f"as '{test.files[b]}'") for a, b in pairs.items()]
        found += Finding.of(kind, told, len(train.files), name)
    return found


def _stem(file: str) -> str:
    """The name of the picture that a file is a version of; "" where it is a number alone."""
    stem = _MARKS.sub("", os.path.splitext(os.path.basename(file))[0].casefold())
    return "" if stem.isdigit() else stem
