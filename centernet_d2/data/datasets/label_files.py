"""XML files as one COCO dictionary: `voc:<annotation dir>:<image dir>[:<list>]`.

Images are found by name in any depth of their folder; classes are those of classes.txt, else the
names that occur, sorted.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence

from ..checks import DatasetError
from .coco_json import coco_dataset
from .columns import PLACE
from .folders import read_class_names, read_split_list
from .from_files import FileDataset, form_error, path_and_rest, say
from .voc_xml import parse, read_xml

logger = logging.getLogger(__name__)

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".gif", ".jfif")


def read_form(spec: str) -> FileDataset:
    """Read a specification; see `from_files.register_dataset_form`."""
    parts, rest = [], spec.partition(":")[2]
    for what in ("annotation folder", "image folder", "list of names"):
        if rest or not parts:
            path, rest = path_and_rest(spec, what, rest)
            parts.append(path)
    if rest:
        raise form_error(spec)
    stem = os.path.splitext(os.path.basename(parts[2 if len(parts) > 2 else 0]))[0]
    return coco_dataset(stem, tuple(parts), ":".join(["voc", *parts]))


def read(spec: str) -> tuple[dict, list[str]]:
    """Return the COCO dictionary of an absolute specification, and the files behind it.

    Boxes are those of `voc.py`. A difficult object is a crowd region: learned, and neither to be
    found nor false when found.
    """
    labels, rest = path_and_rest(spec, "")
    images, listed = path_and_rest(spec, "", rest)
    files, folders = files_in(labels, (".xml",))
    pictures, places = files_in(images)
    paths = {os.path.join(labels, file): os.path.splitext(file)[0] for file in files}
    pages = {path: read_xml(path) for path in paths}
    if not (classes := read_class_names(labels) or read_class_names(os.path.dirname(labels))):
        classes = sorted({name for page in pages.values() for name, _, _ in page[2]})
        say(f"{labels}: classes of the XML files: {', '.join(classes)}")
    find, found = finder(pictures), {}
    for path, stem in paths.items():
        image = find(stem, parse(path).findtext("filename") or stem)
        if image is None or image in found:
            what = "has no image" if image is None else f"has the image of '{found[image]}'"
            cure = "correct the image folder or the name, or remove the label"
            raise DatasetError(f"'{path}' {what}, '{stem}', in '{images}': {cure}")
        found[image] = path
    if listed:
        wanted = {n: find(n) for n in read_split_list(listed, known=(), example="2007_000027")}
        if lost := [name for name, image in wanted.items() if image not in found]:
            told = f"{len(lost)} of {len(wanted)} names have no image with labels"
            raise DatasetError(f"'{listed}': {told}, such as '{lost[0]}': correct the list")
        found = {image: found[image] for image in wanted.values()}
    elif without := len(pictures) - len(found):
        logger.warning("%s: %d images of '%s' have no labels: left out", labels, without, images)
    by_image = {os.path.join(images, n): (found[n], *pages[found[n]]) for n in sorted(found)}
    return coco_content(by_image, classes), [*paths, *folders, *places, *[listed] * bool(listed)]


def coco_content(pages: dict[str, tuple], classes: Sequence[str]) -> dict:
    """The COCO dictionary of image -> label file, width, height, objects as `read_xml` has them."""
    ids = {name: k for k, name in enumerate(classes, start=1)}
    records, annotations = [], []
    for number, (image, (path, width, height, objects)) in enumerate(pages.items(), start=1):
        records.append({"id": number, "file_name": image, "width": width, "height": height})
        for row, (name, (x1, y1, x2, y2), difficult) in enumerate(objects, start=1):
            place = f"'{path}', object {row}"
            if name not in ids:
                raise DatasetError(f"{place}: '{name}' is none of the classes {classes[:20]}")
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": ids[name]}
            width_height = (x2 - x1 + 1, y2 - y1 + 1)
            entry |= {"bbox": [x1 - 1, y1 - 1, *width_height], "iscrowd": difficult, PLACE: place}
            annotations.append(entry | {"area": width_height[0] * width_height[1]})
    categories = [{"id": k, "name": name} for name, k in ids.items()]
    return {"images": records, "annotations": annotations, "categories": categories}


def files_in(root: str, endings: tuple[str, ...] = IMAGE_ENDINGS) -> tuple[list[str], list[str]]:
    """Return the files with these endings in any depth, relative and sorted, and all folders."""
    found, places = [], []
    for place, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        places.append(place)
        kept = (n for n in names if n.lower().endswith(endings) and not n.startswith("."))
        found += [os.path.relpath(os.path.join(place, name), root) for name in kept]
    return sorted(found), places


def finder(files: Sequence[str]) -> Callable[..., str | None]:
    """Return what finds one of the files by its names, with or without folder and ending."""

    def keys(name: str) -> list[str]:
        path, ending = os.path.splitext(name.replace("\\", "/"))
        path += "" if ending.lower() in IMAGE_ENDINGS else ending
        return [path, path.rpartition("/")[2]]

    def find(*names: str) -> str | None:
        key = next((key for name in names for key in keys(name) if key in named), "")
        found = named.get(key, [None])
        if len(found) > 1:
            raise DatasetError(f"'{key}' may be '{found[0]}' or '{found[1]}': rename one of them")
        return found[0]

    named: dict[str, list] = {}
    for file in files:
        for key in set(keys(file)):
            named.setdefault(key, []).append(file)
    return find
