"""Datasets named by their files, `coco:<json>:<image dir>`, registered without code."""

from __future__ import annotations

import hashlib
import os
import re

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.file_io import PathManager

from .coco_file import read_coco_json
from .coco_json import load_coco_records

_PREFIX = "coco:"


def is_file_spec(name: str) -> bool:
    """Whether a dataset name of a config is a `coco:<json>:<image dir>` specification."""
    return name.startswith(_PREFIX)


def register_from_files(spec: str) -> str:
    """Register `coco:<json>:<image dir>` and return the short name that it is registered under.

    The name is the JSON's stem and eight digits of a hash of both absolute paths: safe as a folder
    name and equal in every process. Classes are read from the JSON now, its records only when the
    dataset is used. Calling it again returns the same name.

    Raises:
        ValueError: the specification does not have this form, or no way to split it at a colon
            names existing files; the message lists the ways that were tried.
        DatasetError: the JSON is no COCO annotation file.
    """
    json_file, image_root = (_absolute(path) for path in split_spec(spec))
    name = short_name(json_file, image_root)
    if name in DatasetCatalog:
        return name
    content = read_coco_json(json_file)
    DatasetCatalog.register(name, lambda: load_coco_records(json_file, image_root))
    MetadataCatalog.get(name).set(
        thing_classes=list(content.categories.values()),
        thing_dataset_id_to_contiguous_id=content.contiguous_ids(),
        json_file=json_file,
        image_root=image_root,
        evaluator_type="coco",
    )
    return name


def short_name(json_file: str, image_root: str) -> str:
    """Return the dataset name for two absolute paths: letters, digits, "_", "-" and "." only."""
    stem = os.path.splitext(os.path.basename(json_file))[0]
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).strip("._-") or "dataset"
    digest = hashlib.sha256(f"{json_file}\n{image_root}".encode()).hexdigest()[:8]
    return f"{safe[:48]}_{digest}"


def split_spec(spec: str) -> tuple[str, str]:
    """Split `coco:<json>:<image dir>` into its two paths, which may hold blanks and colons.

    Every colon is tried as the separator; the split whose JSON is a file and whose folder exists is
    taken. "~" is the home folder.
    """
    rest = spec[len(_PREFIX) :]
    splits = [
        (os.path.expanduser(rest[:at]), os.path.expanduser(rest[at + 1 :]))
        for at, character in enumerate(rest)
        if character == ":" and rest[:at] and rest[at + 1 :]
    ]
    if not is_file_spec(spec) or not splits:
        raise ValueError(
            f"dataset '{spec}' does not have the form 'coco:<json>:<image dir>', such as "
            "'coco:annotations/train.json:images/train'"
        )
    for json_file, image_root in splits:
        if PathManager.isfile(json_file) and PathManager.isdir(image_root):
            return json_file, image_root
    tried = "; ".join(
        f"JSON '{json_file}' ({_state(PathManager.isfile(json_file))}), "
        f"images '{image_root}' ({_state(PathManager.isdir(image_root))})"
        for json_file, image_root in splits
    )
    raise ValueError(
        f"dataset '{spec}' names no existing JSON file and image folder; tried: {tried}. Paths are "
        f"relative to '{os.getcwd()}'; correct the part that is missing"
    )


def _absolute(path: str) -> str:
    # A path of detectron2's PathManager ("s3://...") is not one of the file system.
    return os.path.abspath(path) if os.path.exists(path) else path


def _state(exists: bool) -> str:
    return "found" if exists else "missing"
