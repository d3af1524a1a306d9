"""Paths that are named without a form, and exports of Roboflow: what lies there, and its form."""

import os
import re
import tarfile
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..checks import DatasetError
from .coco_file import parse_json
from .folders import files_by_stem
from .from_files import FileDataset, form_error, known_forms, path_and_rest, read_spec
from .label_files import IMAGE_ENDINGS, SPLITS, files_in
from .yolo import read_config

_SPLIT_FOLDER = re.compile("(train|val|test|dev$)", re.IGNORECASE)  # Train, training, validation

_SPLIT = re.compile("(?<![A-Za-z])(train|val|valid|validation|test|dev)(?![A-Za-z])", re.IGNORECASE)

_OF_FOLDERS = ("voc:", "labelme:")  # of a file for each image


def read_form(spec: str) -> FileDataset:
    """Read `roboflow:<folder>:<split>`; see `from_files.register_dataset_form`."""
    folder, split = path_and_rest(spec, "folder")
    inside = os.path.join(folder, "valid" if split == "val" else split)
    if not split or not os.path.isdir(inside):
        cure = " or ".join(f"'{each}'" for each in candidates(folder)) or "its folder"
        raise ValueError(f"dataset '{spec}' names none of the folder's splits: write {cure}")
    is_yolo = any(each.startswith("yolo:") for each in candidates(folder))
    dataset = read_spec(f"yolo:{folder}:{split}" if is_yolo else recognized(inside))
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
        told = f"dataset '{spec}': no known labels are in '{path}'. Known are {known_forms()}"
        raise ValueError(told)
    if len(found) > 1 or "<" in found[0]:
        ways = " or ".join(f"'{each}'" for each in found)
        what = "may be meant in several ways" if len(found) > 1 else "has its images elsewhere"
        raise ValueError(f"dataset '{spec}' {what}: write {ways}")
    return found[0]


def splits_of(spec: str) -> list[str]:
    """What is named, or train, val and test of a whole export."""
    path = os.path.expanduser(re.sub("^(roboflow|yolo|voc):", "", spec))
    ways = candidates(path) if os.path.exists(path) else []
    ways = [way for way in ways if way.rpartition(":")[2] in SPLITS] or ways  # VOC has more lists
    found = {word.lower(): way for way in ways for word in _SPLIT.findall(way)[-1:]}
    if not 1 < len(found) == len(ways):
        return [spec]
    return [found[word] for word in sorted(found, key=(*SPLITS, *found).index)]


def candidates(path: str) -> list[str]:
    """How the data at a path may be written, by what lies there."""
    if not os.path.isdir(path):
        return list(filter(None, [_of_file(*os.path.split(path), is_alone=True)]))
    names = sorted(os.listdir(path))
    if "ImageSets" in names:
        form, part = ("kitti", "") if "training" in names else ("voc", "Main")
        lists = files_by_stem(os.path.join(path, "ImageSets", part), ".txt")
        return [f"{form}:{path}:{split}" for split in lists or ["<split>"]]
    with suppress(DatasetError):
        content = read_config(path)[1]
        return [f"yolo:{path}:{key}" for key in SPLITS if content.get(key)] or [f"yolo:{path}"]
    found: dict[str, str] = {}  # way -> ending of the files of which the first one tells all
    for name in names:
        ending = os.path.splitext(name)[1].lower()
        if ending not in found.values() and (way := _of_file(path, name)):
            found[way] = ending if way.startswith(_OF_FOLDERS) else ""
    if found:
        return [*found]
    if splits := [n for n in names if _SPLIT_FOLDER.match(n) and candidates(os.path.join(path, n))]:
        return [f"roboflow:{path}:{split}" for split in splits]
    inner = [os.path.join(path, n) for n in names if n.lower() in ("annotations", "labels")]
    if ways := [each for place in inner if os.path.isdir(place) for each in candidates(place)]:
        return ways
    for file in files_in(path, (".xml", ".json"))[0][:1]:  # in any depth
        way = _of_file(*os.path.split(os.path.join(path, file)))
        if way.startswith(_OF_FOLDERS):
            return [f"{way.split(':')[0]}:{path}:{_images_of(path)}"]
    files = (files_in(path, endings)[0] for endings in (IMAGE_ENDINGS, (".txt",)))
    stems, named = ({Path(file).stem for file in found} for found in files)
    return [f"yolo:{path}"] if stems & named else []  # the names of classes lack


def _of_file(folder: str, name: str, *, is_alone: bool = False) -> str:
    """How a label file is written, "" where it is none; VOC's and LabelMe's with all beside it."""
    path, ending = os.path.join(folder, name), os.path.splitext(name)[1].lower()
    if ending in (".yaml", ".yml"):
        return f"yolo:{path}"
    if ending == ".json":
        content = parse_json(path)
        if isinstance(content, dict) and "shapes" in content:
            return f"labelme:{folder}:{_images_of(folder)}"
        if not isinstance(content, dict) or "images" not in content:
            return ""
        first = [str(image.get("file_name")) for image in content["images"][:1]]
        return f"coco:{path}:{_images_of(folder, *first)}"
    is_cvat = is_alone or name == "annotations.xml"
    form = {".csv": f"csv:{path}", ".xml": f"cvat:{path}" if is_cvat else f"voc:{folder}"}
    return f"{form[ending]}:{_images_of(folder)}" if ending in form else ""


def _images_of(folder: str, first: str = "") -> str:
    """The folder near labels that has images, or the `first` of them."""
    near = ["", "images", "JPEGImages", "../images", "../JPEGImages"]
    if first:  # also in any depth
        near += [n[: -len(first)] for n in files_in(folder)[0] if f"/{n}".endswith(f"/{first}")]
    for place in (os.path.normpath(os.path.join(folder, name)) for name in near):
        if os.path.isfile(os.path.join(place, first)) if first else files_in(place)[0]:
            return place
    return "<image dir>"
