"""Datasets named by their files, registered without code.

Three forms: `coco:<json>:<image dir>`, `voc:<folder>:<split>` and `kitti:<folder>:<split>`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.file_io import PathManager

from ..checks import DatasetError
from .coco_file import CocoFile, read_coco_json
from .coco_json import load_coco_records
from .kitti import register_kitti_split
from .kitti_folder import LABEL_FOLDER, part_folder
from .kitti_folder import read_split as read_kitti_split
from .voc import CLASS_FILE, VOC_CLASSES, read_split, register_voc_split

FORMS = {
    "coco": ("<json>:<image dir>", "coco:annotations/train.json:images/train"),
    "voc": ("<folder>:<split>", "voc:VOCdevkit/VOC2007:trainval"),
    "kitti": ("<folder>:<split>", "kitti:my/kitti:3dop/train"),
}


def is_file_spec(name: str) -> bool:
    """Whether a dataset name of a config is a specification such as `coco:<json>:<image dir>`."""
    return name.partition(":")[0] in FORMS and ":" in name


def register_from_files(spec: str) -> str:
    """Register a specification and return the short name that it is registered under.

    - `coco:<json>:<image dir>`: a COCO JSON, classes and joints from its categories.
    - `voc:<folder>:<split>`: a folder with `Annotations`, `ImageSets/Main/<split>.txt` and
      `JPEGImages`; VOC's classes, or those in `classes.txt` in the folder, one per line.
    - `kitti:<folder>:<split>`: a folder of KITTI's form (`ImageSets`, `training`); the split is
      "3dop/train", "train" (of `ImageSets/train.txt`), "test", or the path of a list that ends in
      ".txt". Without a folder `training/label_2` it has no labels.

    The name is made of the file's stem (or folder and split) and eight digits of a hash of the
    absolute paths: safe as a folder name and equal in every process. Classes are known now, records
    are only read when the dataset is used. The metadata keeps the specification with absolute paths
    as `file_spec`. Calling it again returns the same name.

    Raises:
        ValueError: the specification does not have such a form, or names no existing files; the
            message lists what was tried.
        DatasetError: the JSON is no COCO annotation file, or the class list is empty.
    """
    if spec.startswith("voc:"):
        return _register_voc(*split_folder_spec(spec))
    if spec.startswith("kitti:"):
        return _register_kitti(*split_folder_spec(spec))
    return _register_coco(*split_spec(spec))


def _register_coco(json_file: str, image_root: str) -> str:
    json_file, image_root = _absolute(json_file), _absolute(image_root)
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
        file_spec=f"coco:{json_file}:{image_root}",
        **_joint_metadata(content),
    )
    return name


def _joint_metadata(content: CocoFile) -> dict:
    if content.skeleton is None:
        return {}
    classes = [content.categories[identifier] for identifier in content.pose_categories]
    return {**content.skeleton.metadata(), "keypoint_classes": classes}


def _register_voc(folder: str, split: str) -> str:
    folder = _absolute(folder)
    name = _safe_name(f"{os.path.basename(folder)}_{split}", folder, split)
    if name in DatasetCatalog:
        return name
    read_split(folder, split)  # a wrong folder or split is said now, not when the data is used
    year = re.search(r"(?:19|20)\d\d$", os.path.basename(folder))
    register_voc_split(
        name,
        folder,
        split,
        class_names=_voc_classes(folder),
        year=int(year.group()) if year else 2012,
    )
    MetadataCatalog.get(name).set(file_spec=f"voc:{folder}:{split}")
    return name


def _register_kitti(folder: str, split: str) -> str:
    folder = _absolute(folder)
    name = _safe_name(f"{os.path.basename(folder)}_{split.removesuffix('.txt')}", folder, split)
    if name in DatasetCatalog:
        return name
    read_kitti_split(folder, split)  # a wrong folder or split is said now
    labels = os.path.join(part_folder(folder, split), LABEL_FOLDER)
    register_kitti_split(name, folder, split, labelled=PathManager.isdir(labels))
    MetadataCatalog.get(name).set(file_spec=f"kitti:{folder}:{split}")
    return name


def _voc_classes(folder: str) -> Sequence[str]:
    path = os.path.join(folder, CLASS_FILE)
    if not PathManager.isfile(path):
        return VOC_CLASSES
    with PathManager.open(path) as file:
        names = [line.strip() for line in file if line.strip()]
    if not names or len(set(names)) < len(names):
        raise DatasetError(
            f"'{path}' must hold the name of each class once, one per line; it holds {names[:20]}"
        )
    return names


def short_name(json_file: str, image_root: str) -> str:
    """Return the dataset name for two absolute paths: letters, digits, "_", "-" and "." only."""
    stem = os.path.splitext(os.path.basename(json_file))[0]
    return _safe_name(stem, json_file, image_root)


def _safe_name(stem: str, *parts: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).strip("._-") or "dataset"
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
    return f"{safe[:48]}_{digest}"


def split_spec(spec: str) -> tuple[str, str]:
    """Split `coco:<json>:<image dir>` into its two paths, which may hold blanks and colons.

    Every colon is tried as the separator; the split whose JSON is a file and whose folder exists is
    taken. "~" is the home folder.
    """
    rest = spec.removeprefix("coco:")
    splits = [
        (os.path.expanduser(rest[:at]), os.path.expanduser(rest[at + 1 :]))
        for at, character in enumerate(rest)
        if character == ":" and rest[:at] and rest[at + 1 :]
    ]
    if not spec.startswith("coco:") or not splits:
        raise _no_such_form(spec)
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


def split_folder_spec(spec: str) -> tuple[str, str]:
    """Split `<kind>:<folder>:<split>` at its last colon into an existing folder and a split."""
    kind, _, rest = spec.partition(":")
    folder, _, split = rest.rpartition(":")
    if not folder or not split:
        raise _no_such_form(spec)
    folder = os.path.expanduser(folder)
    if not PathManager.isdir(folder):
        holds = {
            "voc": "Annotations, ImageSets/Main and JPEGImages",
            "kitti": "ImageSets and training (or testing)",
        }[kind]
        raise ValueError(
            f"dataset '{spec}': folder '{folder}' does not exist. It is the one that holds "
            f"{holds}; paths are relative to '{os.getcwd()}'"
        )
    return folder, split


def _no_such_form(spec: str) -> ValueError:
    forms = " or ".join(
        f"'{kind}:{form}', such as '{such}'" for kind, (form, such) in FORMS.items()
    )
    return ValueError(f"dataset '{spec}' does not have the form {forms}")


def _absolute(path: str) -> str:
    # A path of detectron2's PathManager ("s3://...") is not one of the file system.
    return os.path.abspath(path) if os.path.exists(path) else path


def _state(exists: bool) -> str:
    return "found" if exists else "missing"
