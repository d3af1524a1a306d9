"""Label files of other forms as one COCO dictionary: `<form>:<labels>[:<image dir>[:<list>]]`.

A form's module has a function `pages(path, stem)`: what one label file says, and of which images.
All else is the same for all. Images are found by name in any depth of their folder; classes are
those of classes.txt, else the names that occur, sorted, in all splits (`my/train`, `my/valid`).
"""

from __future__ import annotations

import logging
import os
import pkgutil
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from ...progress import SHOWN
from ..checks import DatasetError
from ..images import read_image_size
from .coco_json import coco_dataset
from .columns import PLACE
from .folders import read_class_names, read_split_list
from .from_files import FileDataset, form_error, path_and_rest

logger = logging.getLogger(__name__)

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".gif", ".jfif")
FORMS = {
    "voc": ("voc_xml", ".xml"),
    "csv": ("csv_file", ".csv"),
    "labelme": ("labelme", ".json"),
    "cvat": ("cvat", ".xml"),
}
_SPLIT = re.compile(r"(?<![A-Za-z])(train|valid|val|test)(?![A-Za-z])")


class Page(NamedTuple):
    """What is said of one image."""

    names: Sequence[str]  # that its file may have, the likeliest first
    place: str  # for messages
    size: tuple[int, int] | None  # width, height; None: as the file has it, upright
    # "label", "box" (x1, y1, x2, y2 in pixels, None of a shape without extent), PLACE, other keys
    objects: Sequence[dict[str, Any]]


def read_form(spec: str) -> FileDataset:
    """Read a specification; see `from_files.register_dataset_form`."""
    parts, rest = [], spec.partition(":")[2]
    for what in ("label file or folder", "image folder", "list of names"):
        if rest or not parts:
            path, rest = path_and_rest(spec, what, rest)
            parts.append(path)
    if rest:
        raise form_error(spec)
    stem = os.path.splitext(os.path.basename(parts[-1 if len(parts) > 2 else 0]))[0]
    return coco_dataset(stem, tuple(parts), ":".join([spec.partition(":")[0], *parts]))


def read(spec: str) -> tuple[dict, list[str]]:
    """Return the COCO dictionary of a specification with absolute paths, and the files behind it."""
    form = spec.partition(":")[0]
    labels, rest = path_and_rest(spec, "")
    images, names = path_and_rest(spec, "", rest) if rest else ("", "")
    pages, files = _pages(form, labels)
    folder = labels if os.path.isdir(labels) else os.path.dirname(labels)
    if not (classes := read_class_names(folder) or read_class_names(os.path.dirname(folder))):
        words = ("train", "val", "valid", "test") if _SPLIT.search(os.path.basename(labels)) else ()
        places = {
            os.path.join(os.path.dirname(labels), _SPLIT.sub(w, os.path.basename(labels)))
            for w in words
        }
        others = [place for place in sorted(places - {labels}) if os.path.exists(place)]
        rows = [*pages, *(page for place in others for page in _pages(form, place)[0])]
        classes = sorted({entry["label"] for page in rows for entry in page.objects})
        told = ", ".join([labels, *others])
        logger.info("%s: classes of the labels: %s", told, ", ".join(classes), extra=SHOWN)
        files += others
    return coco_content(pages, classes, labels, images or folder, files, names=names)


def _pages(form: str, labels: str) -> tuple[list[Page], list[str]]:
    """What all label files say, and these with their folders."""
    module, ending = FORMS[form]
    files, folders = [os.path.basename(labels)], [os.path.dirname(labels)]
    if os.path.isdir(labels):
        files, folders = files_in(labels, (ending,))
    read, paths = pkgutil.resolve_name(f"{__package__}.{module}:pages"), {}
    for file in files:
        paths[os.path.join(folders[0], file)] = os.path.splitext(file)[0]
    return [page for path, stem in paths.items() for page in read(path, stem)], [*paths, *folders]


def coco_content(
    pages: Iterable[Page],
    classes: Sequence[str],
    source: str,
    images: str,
    files: Sequence[str],
    *,
    names: str = "",
    **category: Any,
) -> tuple[dict, list[str]]:
    """Return a COCO dictionary, and `files` with the further ones behind it.

    `source` is named in messages; `images` is the folder of the images, "" where pages name whole
    paths; `names` a list of those to take, and `category` further keys of the categories.
    """
    pictures, folders = files_in(images) if images else ([], [])
    find, by_image = finder(pictures) if images else (lambda *paths: paths[0]), {}
    for page in pages:
        image = find(*page.names)
        if image is None or image in by_image:
            what = "has no image" if image is None else f"has the image of {by_image[image].place}"
            raise DatasetError(
                f"{page.place} {what} in '{images}', where '{page.names[0]}' was looked for: correct "
                "the image folder or the name, or remove the label"
            )
        by_image[image] = page
    if names:
        wanted = {n: find(n) for n in read_split_list(names, known=(), example="2007_000027")}
        if lost := [name for name, image in wanted.items() if image not in by_image]:
            raise DatasetError(
                f"'{names}': {len(lost)} of {len(wanted)} names have no image with labels, such as "
                f"'{lost[0]}': correct the list"
            )
        by_image = {image: by_image[image] for image in wanted.values()}
    elif images and (without := len(pictures) - len(by_image)):
        logger.warning("%s: %d images of '%s' have no labels: left out", source, without, images)
    ids = {name: k for k, name in enumerate(classes, start=1)}
    content = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": k, "name": name, **category} for name, k in ids.items()]
    for number, (image, page) in enumerate(sorted(by_image.items()), start=1):
        path = os.path.join(images, image)
        size = page.size or read_image_size(path, upright=True)
        record = {"id": number, "file_name": path, "width": size[0], "height": size[1]}
        content["images"].append(record)
        for entry in page.objects:
            if entry["label"] not in ids:
                known = f"none of the classes {classes[:20]}"
                raise DatasetError(f"{entry[PLACE]}: '{entry['label']}' is {known}; correct it")
            if entry["box"]:
                x1, y1, x2, y2 = entry["box"]
                own = {"bbox": [x1, y1, x2 - x1, y2 - y1], "category_id": ids[entry["label"]]}
                content["annotations"].append({**entry, **own, "image_id": number})
    for number, entry in enumerate(content["annotations"], start=1):
        entry["id"] = number
    if flat := sum(not entry["box"] for page in by_image.values() for entry in page.objects):
        logger.warning("%s: %d points, lines and the like are no boxes: left out", source, flat)
    sized = [os.path.join(images, image) for image, page in by_image.items() if not page.size]
    return content, [*files, *folders, *sized, *[names] * bool(names)]


def files_in(root: str, endings: tuple[str, ...] = IMAGE_ENDINGS) -> tuple[list[str], list[str]]:
    """Return the files with these endings in any depth, relative and sorted, and all folders."""
    found, places = [], []
    for place, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        places.append(place)
        kept = (n for n in names if n.lower().endswith(endings) and not n.startswith("."))
        found += [os.path.relpath(os.path.join(place, name), root) for name in kept]
    return sorted(found), places


def finder(files: Collection[str]) -> Callable[..., str | None]:
    """Return what finds one of the files by its names, with or without folder and ending."""
    named: dict[str, list[str]] = {}

    def keys(name: str) -> tuple[str, str]:
        path = PurePosixPath(name.replace("\\", "/"))
        path = path.with_suffix("") if path.suffix.lower() in IMAGE_ENDINGS else path
        return str(path), path.name

    def find(*names: str) -> str | None:
        for key in (key for name in names for key in keys(name)):
            if found := named.get(key):
                if len(found) > 1:
                    both = f"'{found[0]}' or '{found[1]}'"
                    raise DatasetError(f"'{key}' may be {both}: give them different names")
                return found[0]
        return None

    for file in files:
        for key in set(keys(file)):
            named.setdefault(key, []).append(file)
    return find


def around(points: Sequence[Sequence[float]]) -> list[float] | None:
    """Return the box around an outline; None of less than two points."""
    xs, ys = zip(*points, strict=True) if len(points) > 1 else ((), ())
    return [min(xs), min(ys), max(xs), max(ys)] if xs else None


def number(text: Any, place: str) -> float:
    """Return a number; DatasetError says what is none, and where it stands."""
    try:
        return float(text)
    except (TypeError, ValueError):
        raise DatasetError(f"{place}: {text!r:.60} stands where a number must be") from None
