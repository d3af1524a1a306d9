"""Parts of other datasets: a share of their images, and classes that are chosen and merged.

Any registered dataset can be the base, of files or of code. What is chosen are its records, the
same for training and for scoring. A share, `train80`, is random but reproducible: images are
ordered by a hash of their group of names, so that neither folder nor order of the files matters.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from ...checked_values import nearest
from ...progress import say
from ..checks import DatasetError

SHARE = re.compile(r"(train|val|valid|test)(\d{1,3})(?:-(\d{1,3}))?")
# What Roboflow adds to the name of an augmented copy, and the number of a frame.
_COPY = re.compile(r"(?:[_.](?:jpe?g|png|bmp|webp))?\.rf\.[0-9A-Za-z]+$", re.IGNORECASE)
_FRAME = re.compile(r"[\W_]*\d+\W*$")
_IDS = "thing_dataset_id_to_contiguous_id"


@dataclass(frozen=True)
class Selection:
    """What a dataset takes of another one; it stands in the metadata as `selection`."""

    base: str  # registered name
    share: str = ""  # "train80"; "": all images
    classes: tuple[str, ...] = ()  # see `class_members`; (): as they are

    def register(self, name: str) -> None:
        """Register it under a name, with the base's metadata as far as it still holds."""
        metadata, lost = _metadata(self.base), {"name", "file_spec", "selection"}
        if self.classes:
            members = class_members(self.classes, old := metadata["thing_classes"])
            if _IDS in metadata:  # a class keeps the id of its first member, where each has one
                ids = {old[k]: identifier for identifier, k in metadata[_IDS].items()}
                first = [ids.get(names[0], -1) for names in members.values()]
                first = [*range(len(first))] if -1 in first else first
                metadata[_IDS] = {identifier: k for k, identifier in enumerate(first)}
            having = set(metadata.get("keypoint_classes", ()))
            metadata["keypoint_classes"] = [n for n in members if having.intersection(members[n])]
            metadata["thing_classes"] = list(members)
            # Without the folder of KITTI's labels, whose types are others, scored are the records.
            lost |= {"thing_colors", "label_dir"}
            if not metadata["keypoint_classes"]:  # those that are left have no joints
                lost |= {k for k in metadata if having and k.startswith("keypoint_")}
                lost |= {"keypoint_classes"}
        DatasetCatalog.register(name, self.records)
        kept = {key: value for key, value in metadata.items() if key not in lost}
        MetadataCatalog.get(name).set(**kept, selection=self)

    def records(self) -> list[dict]:
        """The base's records, checked, of the images and with the classes that are chosen."""
        from ..records import checked_records  # which imports the registry

        names = _metadata(self.base)["thing_classes"]
        records: list[dict] = list(checked_records(self.base))
        if self.share:
            files = [record.get("file_name", str(record["image_id"])) for record in records]
            part, *told = part_of(files, self.share, names)
            for line in filter(None, told):  # the second is the same for all shares
                say(f"{self.base}: {line}")
            records = [record for record, taken in zip(records, part, strict=True) if taken]
        if not self.classes:
            return records
        members = class_members(self.classes, names).values()
        of_name = {name: k for k, group in enumerate(members) for name in group}
        new = [of_name.get(name) for name in names] + [-1]  # -1: a region of every class
        left_out: Counter[str] = Counter()
        for row, record in enumerate(records):
            if "annotations" in record:
                pairs = [(entry, new[entry["category_id"]]) for entry in record["annotations"]]
                left_out.update(names[e["category_id"]] for e, k in pairs if k is None)
                kept = [entry | {"category_id": k} for entry, k in pairs if k is not None]
                records[row] = record | {"annotations": kept}
        if left_out:
            counts = ", ".join(f"{count} {name}" for name, count in left_out.most_common(20))
            say(f"{self.base}: left out as not in DATASETS.CLASSES: {counts} objects")
        return records


def class_members(entries: Sequence[str], known: Collection[str]) -> dict[str, list[str]]:
    """Return new name -> the names that it stands for, in the order of DATASETS.CLASSES.

    An entry is "name" or "new=name+name"; what is one of the `known` names is not taken apart.
    """
    found: dict[str, list[str]] = {}
    for entry in entries:
        new, equals, rest = (part.strip() for part in entry.partition("="))
        if entry in known or not equals:
            new = rest = entry
        names = [rest] if rest in known else [name.strip() for name in rest.split("+")]
        taken = {name for group in found.values() for name in group} & {*names} | {new} & {*found}
        if taken or not all([new, *names]):
            wrong = f"has '{min(taken)}' again" if taken else "lacks a name"
            cure = "an entry is a name, or a new one and those that it stands for: 'cell=WBC+RBC'"
            raise DatasetError(f"DATASETS.CLASSES: '{entry}' {wrong}; {cure}")
        found[new] = names
    return found


def check_classes(entries: Sequence[str], datasets: Sequence[str]) -> None:
    """Raise DatasetError for a name in DATASETS.CLASSES that no dataset has, with the nearest."""
    known = dict.fromkeys(n for each in datasets for n in _metadata(each)["thing_classes"])
    for name in (n for names in class_members(entries, known).values() for n in names):
        if name not in known:
            told = f"DATASETS.CLASSES names '{name}', which is no class of {', '.join(datasets)}"
            told += nearest(name, known, 1, 0.5)
            raise DatasetError(f"{told}; they have {', '.join([*known][:50])}")


def _metadata(name: str) -> dict[str, Any]:
    """What is known of a dataset, after loading it where its classes are only known then."""
    if MetadataCatalog.get(name).get("thing_classes") is None:
        DatasetCatalog.get(name)
    found = dict(MetadataCatalog.get(name).as_dict())
    if not found.get("thing_classes"):
        raise DatasetError(f"dataset '{name}' has no class names, by which parts of it are chosen")
    return found


def groups(names: Sequence[str], classes: Sequence[str] = ()) -> tuple[list[str], str]:
    """Return the group of each image, of which no share takes a part, and a note on the choice.

    Copies of one image are a group; so are frames, whose names differ in their last number alone
    ("street_0012.jpg"). Names that are nothing but numbers, of which one begins with one of the
    `classes` ("apple_12.jpg"), or that mostly begin alike say nothing of frames.
    """
    bases = [os.path.splitext(re.split(r"[\\/]", name)[-1])[0] for name in names]
    originals = [_COPY.sub("", base) for base in bases]
    stems = [_FRAME.sub("", base) for base in originals]
    stems = [s if s and not s.isdigit() else b for s, b in zip(stems, originals, strict=True)]
    different, words = sorted(set(stems)), tuple(n.lower() for n in classes if len(n) > 1)
    (stem, count), *_ = Counter(stems).most_common(1)
    if len(different) == len(set(originals)):
        return originals, ""
    if named := [stem for stem in different if stem.lower().startswith(words)]:
        return originals, f"numbers after '{named[0]}', a class, are taken for no frames"
    if len(different) < 3 or count > len(names) / 2:
        return originals, (
            f"{count} pictures are named '{stem}' and a number, and each is taken for one of its "
            "own; if they are frames of one video, give each split its own files"
        )
    return stems, ""


def part_of(
    names: Sequence[str], share: str, classes: Sequence[str]
) -> tuple[np.ndarray, str, str]:
    """Return which of the images a share has, (N,) bool, what it is, and the note of `groups`.

    train80 are the first 80 %, val20 and test20 the last 20, val70-85 those between.
    """
    word, first, last = SHARE.fullmatch(share).groups()
    start, end = (int(first), int(last)) if last else (0, int(first))
    start, end = (start, end) if last or word == "train" else (100 - end, 100)
    keys, note = groups(names, classes)
    counts = Counter(keys)
    ordered = sorted(counts, key=lambda key: hashlib.sha256(key.encode()).digest())
    sizes = np.array([counts[key] for key in ordered])
    middles = 100 * (np.cumsum(sizes) - sizes / 2) / len(names)
    chosen = {key for key, at in zip(ordered, middles, strict=True) if start <= at < end}
    part = np.array([key in chosen for key in keys])
    told = f"{share}: {part.sum()} of {len(names)} images, {len(chosen)} of {len(counts)} groups"
    if not chosen or not 0 <= start < end <= 100:
        told = "; ".join(filter(None, (told, note)))
        raise DatasetError(f"{told}: take a larger share, such as train80 with val20")
    return part, told, note
