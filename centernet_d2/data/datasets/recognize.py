"""Paths that are named without a form, and exports of Roboflow: what lies there, and its form."""

from __future__ import annotations

import logging
import os
import tarfile
import zipfile
from dataclasses import replace

from ...progress import SHOWN
from ..checks import DatasetError
from .coco_file import parse_json
from .folders import files_by_stem
from .from_files import FileDataset, form_error, path_and_rest, read_spec
from .label_files import files_in
from .yolo import SPLITS, read_config

logger = logging.getLogger(__name__)


def read_form(spec: str) -> FileDataset:
    """Read `roboflow:<folder>:<split>`; see `from_files.register_dataset_form`."""
    folder, split = path_and_rest(spec, "folder")
    inside = os.path.join(folder, {"val": "valid"}.get(split, split))
    if not split or not os.path.isdir(inside):
        there = [name for name in SPLITS if os.path.isdir(os.path.join(folder, name))]
        cure = " or ".join(f"'roboflow:{folder}:{name}'" for name in there)
        raise ValueError(
            f"dataset '{spec}' names none of the folder's splits: write {cure or there}"
        )
    found = [each for each in candidates(folder) if each == f"yolo:{folder}:{split}"]
    dataset = read_spec((found or [recognized(inside)])[0])
    return replace(dataset, stem=f"{os.path.basename(folder)}_{split}", parts=(folder, split))


def recognized(spec: str) -> str:
    """Return a path, with or without a split or an image folder behind it, as it is to be written.

    ValueError where it is none, an archive, or may be meant in several ways.
    """
    try:
        path, rest = path_and_rest(f":{spec}", "path")
    except ValueError:
        raise form_error(spec) from None
    if os.path.isfile(path) and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path)):
        raise ValueError(f"dataset '{spec}' is an archive: unpack it, and name its folder")
    found = candidates(path)
    if rest:  # of the one form that it has
        prefixes = dict.fromkeys(each.partition(":")[0] for each in found)
        found = [f"{prefix}:{path}:{rest}" for prefix in prefixes]
    if not found:
        raise ValueError(f"dataset '{spec}': no known labels are in '{path}'. {form_error('')}")
    if len(found) > 1 or "<" in found[0]:
        ways = " or ".join(f"'{each}'" for each in found)
        raise ValueError(f"dataset '{spec}' may be meant in several ways: write {ways}")
    logger.info("'%s' is read as '%s'", spec, found[0], extra=SHOWN)
    return found[0]


def candidates(path: str) -> list[str]:
    """How the data at a path may be written, by what lies there."""
    folder, name = (path, "") if os.path.isdir(path) else os.path.split(path)
    names = [name] if name else sorted(os.listdir(path))
    if "ImageSets" in names:
        form, part = ("kitti", "") if "training" in names else ("voc", "Main")
        lists = files_by_stem(os.path.join(path, "ImageSets", part), ".txt")
        return [f"{form}:{path}:{split}" for split in lists or ["<split>"]]
    if not name or name.endswith((".yaml", ".yml")):
        try:
            content = read_config(path)[1]
        except DatasetError:
            content = {}
        if content:
            splits = [split for split in SPLITS if content.get(split)]
            return [f"yolo:{path}:{split}" for split in splits] or [f"yolo:{path}"]
    found = {}
    for file in names:
        ending, whole = os.path.splitext(file)[1].lower(), os.path.join(folder, file)
        if ending == ".json" and "labelme" not in found:
            content = parse_json(whole)
            if isinstance(content, dict) and "shapes" in content:
                found["labelme"] = f"labelme:{folder}"
            elif isinstance(content, dict) and "images" in content:
                first = [str(image.get("file_name")) for image in content["images"][:1]]
                found[file] = f"coco:{whole}:{_images_of(folder, *first)}"
        elif ending == ".csv":
            found[file] = f"csv:{whole}:{_images_of(folder)}"
        elif ending == ".xml":
            form = f"cvat:{whole}" if name or file == "annotations.xml" else f"voc:{folder}"
            found[form] = f"{form}:{_images_of(folder)}"
    if found or name:
        return [*found.values()]
    if splits := [s for s in SPLITS if s in names and candidates(os.path.join(path, s))]:
        return [f"roboflow:{path}:{split}" for split in splits]
    inner = [os.path.join(path, n) for n in names if n.lower() in ("annotations", "labels")]
    return [each for place in inner if os.path.isdir(place) for each in candidates(place)]


def _images_of(folder: str, first: str = "") -> str:
    """The folder near labels that has images, or the `first` of them."""
    above = os.path.dirname(folder)
    for place in (
        folder,
        *(os.path.join(a, n) for a in (folder, above) for n in ("images", "JPEGImages")),
    ):
        if os.path.isfile(os.path.join(place, first)) if first else files_in(place)[0]:
            return place
    return "<image dir>"
