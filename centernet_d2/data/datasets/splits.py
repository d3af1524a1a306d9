"""Splits of data that has none: `<word><share>` after a specification, random but reproducible.

`train80` are the first 80 %, `val20` and `test20` the last 20, `val70-85` those between. Images are
ordered by a hash of their group, so that neither folder nor order of the files matters.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..checks import DatasetError

_SPLIT = re.compile(r"(train|val|valid|test|holdout)(\d{1,3})(?:-(\d{1,3}))?")
# What Roboflow adds to the name of an augmented copy, and the number of a frame.
_COPY = re.compile(r"(?:[_.](?:jpe?g|png|bmp|webp))?\.rf\.[0-9A-Za-z]+$", re.IGNORECASE)
_FRAME = re.compile(r"[\W_]*\d+\W*$")
_LEAST_GROUPS, _LARGEST_GROUP = 3, 0.5


def split_of(spec: str) -> tuple[str, str]:
    """Return ("coco:a.json:images", "train80") of "coco:a.json:images:train80"; "" without one."""
    base, _, split = spec.rpartition(":")
    return (base, split) if base and _SPLIT.fullmatch(split) else (spec, "")


def bounds(split: str) -> tuple[int, int]:
    """Return where a split begins and ends, in percent; DatasetError of what is no share."""
    word, first, last = _SPLIT.fullmatch(split).groups()
    start, end = (int(first), int(last)) if last else (0, int(first))
    if not last and word != "train":
        start, end = 100 - end, 100
    if not 0 <= start < end <= 100:
        raise DatasetError(
            f"split '{split}': a share is a number from 1 to 100 (train80 with val20), a range two "
            "of them (train70, val70-85, test85-100)"
        )
    return start, end


def groups(names: Sequence[str], classes: Sequence[str] = ()) -> tuple[list[str], str]:
    """Return the group of each image, of which no split takes a part, and a note on the choice.

    Copies of one image are a group; so are frames, whose names differ in their last number alone
    ("street_0012.jpg"). Names that are nothing but numbers, of which one begins with one of the
    `classes` ("apple_12.jpg"), or that nearly all begin alike say nothing of frames.
    """
    bases = [os.path.splitext(re.split(r"[\\/]", name)[-1])[0] for name in names]
    originals = [_COPY.sub("", base) for base in bases]
    stems = [_FRAME.sub("", base) for base in originals]
    stems = [s if s and not s.isdigit() else b for s, b in zip(stems, originals, strict=True)]
    different = set(stems)
    if len(different) == len(set(originals)):
        return originals, ""
    words = tuple(name.lower() for name in classes if len(name) > 1)
    if like_class := [stem for stem in different if stem.lower().startswith(words)]:
        return (
            originals,
            f"'{min(like_class)}' is a class: numbers in names are taken for no frames",
        )
    stem, count = Counter(stems).most_common(1)[0]
    if len(different) < _LEAST_GROUPS or count > _LARGEST_GROUP * len(names):
        return originals, (
            f"{count} names begin with '{stem}': their numbers are taken for no frames. Where they "
            "are of one video, give each split its own files"
        )
    return stems, ""


def part_of(
    names: Sequence[str], split: str, classes: Sequence[str] = ()
) -> tuple[np.ndarray, str]:
    """Return which of the images a split has, (N,) bool, and what is to be said of it.

    Splits that share no percent share no group.
    """
    start, end = bounds(split)
    keys, note = groups(names, classes)
    counts = Counter(keys)
    ordered = sorted(counts, key=lambda key: hashlib.sha256(key.encode()).digest())
    sizes = np.array([counts[key] for key in ordered])
    middles = 100 * (np.cumsum(sizes) - sizes / 2) / len(names)
    chosen = {key for key, at in zip(ordered, middles, strict=True) if start <= at < end}
    part = np.array([key in chosen for key in keys])
    if not chosen:
        raise DatasetError(
            f"split '{split}' is empty: {len(names)} images are {len(counts)} groups of names, the "
            f"largest of {sizes.max()}. Take a larger share, or give each split its own files"
        )
    told = f"{part.sum()} of {len(names)} images, {len(chosen)} of {len(counts)} groups of names"
    return part, f"{split}: {told}" + (f" ({note})" if note else "")
