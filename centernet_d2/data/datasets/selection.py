"""Parts of other datasets: a share of their images, and classes that are chosen and merged.

Any registered dataset can be the base, of files or of code. What is chosen are its records, the
same for training and for scoring.
"""

from __future__ import annotations

import difflib
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...progress import SHOWN
from ..checks import DatasetError
from .splits import part_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """What a dataset takes of another one; it stands in the metadata as `selection`."""

    base: str  # registered name
    split: str = ""  # "train80"; "": all images
    classes: tuple[str, ...] = ()  # see `class_members`; (): as they are

    def register(self, name: str) -> None:
        """Register it under a name, with the base's metadata as far as it still holds."""
        metadata = _metadata(self.base)
        if self.classes:
            metadata = self._with_classes(metadata)
        DatasetCatalog.register(name, self.records)
        kept = {k: v for k, v in metadata.items() if k not in ("name", "file_spec", "selection")}
        MetadataCatalog.get(name).set(**kept, selection=self)

    def _with_classes(self, metadata: dict[str, Any]) -> dict[str, Any]:
        old, ids = metadata["thing_classes"], "thing_dataset_id_to_contiguous_id"
        members = class_members(self.classes, old)
        changed: dict[str, Any] = {"thing_classes": list(members)}
        if ids in metadata:  # a class keeps the id of its first member, as far as all have one
            of_name = {old[k]: identifier for identifier, k in metadata[ids].items()}
            firsts = [of_name.get(names[0]) for names in members.values()]
            changed[ids] = {
                i: k for k, i in enumerate(range(len(firsts)) if None in firsts else firsts)
            }
        having = set(metadata.get("keypoint_classes", ()))
        if named := [new for new, names in members.items() if having.intersection(names)]:
            changed["keypoint_classes"] = named
        elif having:
            metadata = {k: v for k, v in metadata.items() if not k.startswith("keypoint_")}
        if "label_dir" in metadata:  # KITTI's files name other types: scored is by the records
            changed["label_dir"] = None
        return {k: v for k, v in metadata.items() if k != "thing_colors"} | changed

    def records(self) -> list[dict]:
        """The base's records, checked, of the images and with the classes that are chosen."""
        from ..records import checked_records  # which imports the registry

        names = _metadata(self.base)["thing_classes"]
        records: list[dict] = list(checked_records(self.base))
        if self.split:
            files = [record.get("file_name", str(record["image_id"])) for record in records]
            part, told = part_of(files, self.split, names)
            _tell_once(f"{self.base}: {told}")
            records = [record for record, taken in zip(records, part, strict=True) if taken]
        if not self.classes:
            return records
        members = class_members(self.classes, names)
        of_name = {name: k for k, group in enumerate(members.values()) for name in group}
        new = [of_name.get(name) for name in names] + [-1]  # -1: a region of every class
        left_out: Counter[str] = Counter()
        for row, record in enumerate(records):
            if "annotations" in record:
                entries = record["annotations"]
                left_out.update(names[i] for e in entries if new[i := e["category_id"]] is None)
                kept = [e | {"category_id": new[e["category_id"]]} for e in entries]
                kept = [entry for entry in kept if entry["category_id"] is not None]
                records[row] = record | {"annotations": kept}
        if left_out:
            counts = ", ".join(f"{count} {name}" for name, count in left_out.most_common(20))
            _tell_once(
                f"{self.base}: {left_out.total()} objects of classes that DATASETS.CLASSES does not "
                f"name are left out: {counts}"
            )
        return records


@lru_cache
def _tell_once(text: str) -> None:
    logger.info(text, extra=SHOWN)


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
        if new in found or not new or not all(names):
            raise DatasetError(
                f"DATASETS.CLASSES: '{entry}' {'names a class again' if new in found else 'lacks a name'}; "
                "an entry is a name, or a new one and those that it stands for: 'cell=WBC+Platelets'"
            )
        found[new] = names
    counts = Counter(name for names in found.values() for name in names)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise DatasetError(f"DATASETS.CLASSES has '{twice[0]}' twice: take it out of one class")
    return found


def check_classes(entries: Sequence[str], datasets: Sequence[str]) -> None:
    """Raise DatasetError for a name in DATASETS.CLASSES that no dataset has, with the nearest."""
    known = {name: None for each in datasets for name in _metadata(each)["thing_classes"]}
    for names in class_members(entries, known).values():
        for name in names:
            if name not in known:
                lower = {each.lower(): each for each in known}
                near = difflib.get_close_matches(name.lower(), lower, 1, 0.5)
                raise DatasetError(
                    f"DATASETS.CLASSES names '{name}', which is no class of {', '.join(datasets)}"
                    + (f" (did you mean '{lower[near[0]]}'?)" if near else "")
                    + f"; their classes are {', '.join([*known][:50])}"
                )


def _metadata(name: str) -> dict[str, Any]:
    """What is known of a dataset, after loading it where its classes are only known then."""
    if MetadataCatalog.get(name).get("thing_classes") is None:
        DatasetCatalog.get(name)
    found = MetadataCatalog.get(name).as_dict()
    if not found.get("thing_classes"):
        raise DatasetError(f"dataset '{name}' has no class names, by which parts of it are chosen")
    return found
