"""Label files of other forms as one COCO dictionary: `<form>:<labels>[:<image dir>[:<list>]]`.

A form has a function `pages(path, stem)`: what one label file says, and of which images. Images are
found by name in any depth of their folder; classes are those of classes.txt, else the names that
occur, sorted, in all splits (`labels/train`, `labels/valid`).
"""

import logging
import os
import pkgutil
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ...progress import say
from ..checks import DatasetError
from ..checks.findings import readable
from ..images import image_sizes
from .coco_json import coco_dataset
from .columns import PLACE
from .folders import read_class_names, read_split_list
from .from_files import FileDataset, form_error, path_and_rest

logger = logging.getLogger(__name__)

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".gif", ".jfif")
PAGES = {  # form -> what reads a label file, and its ending
    "voc": ("voc_xml:pages", ".xml"),
    "csv": ("csv_file:pages", ".csv"),
    "labelme": ("outlines:labelme_pages", ".json"),
    "cvat": ("outlines:cvat_pages", ".xml"),
}
SPLITS = ("train", "val", "valid", "test")
# A split in the last two names of a path, "labels/train" or "train/boxes.csv".
_SPLIT = re.compile(r"^(.*[^A-Za-z])(?:train|valid|val|test)((?![A-Za-z])[^/]*(?:/[^/]*)?)$")


class Page(NamedTuple):
    """What is said of one image."""

    names: Sequence[str]  # that its file may have, the likeliest first
    place: str  # for messages
    size: tuple[int, int] | None  # width, height; None: as the file has it, upright
    # "label", "box" (x1, y1, x2, y2 in pixels, None of a shape without extent), PLACE, other keys
    objects: list[dict[str, Any]]


def read_form(spec: str) -> FileDataset:
    """Read a specification; see `from_files.register_dataset_form`."""
    parts, rest = [], spec.partition(":")[2]
    for what in ("label file or folder", "image folder", "list of names"):
        if rest or not parts:
            path, rest = path_and_rest(spec, what, rest)
            parts.append(path)
    if rest:
        raise form_error(spec)
    stem = os.path.splitext(os.path.basename(parts[2 if len(parts) > 2 else 0]))[0]
    return coco_dataset(stem, tuple(parts), ":".join([spec.partition(":")[0], *parts]))


def read(spec: str) -> tuple[dict, list[str]]:
    """Return the COCO dictionary of an absolute specification, and the files behind it."""
    form = spec.partition(":")[0]
    labels, rest = path_and_rest(spec, "")
    images, names = path_and_rest(spec, "", rest) if rest else ("", "")
    pages, files = _pages(form, labels)
    inside = labels if os.path.isdir(labels) else os.path.dirname(labels)
    if not (classes := read_class_names(inside) or read_class_names(os.path.dirname(inside))):
        others = {_SPLIT.sub(rf"\g<1>{word}\g<2>", labels) for word in SPLITS} - {labels}
        others = sorted(filter(os.path.exists, others))
        rows = [*pages, *(page for place in others for page in _pages(form, place)[0])]
        classes = sorted(
            {entry["label"] for page in rows for entry in page.objects if entry["box"]} - {""}
        )
        say(f"{', '.join([labels, *others])}: classes of the labels: {', '.join(classes)}")
        files += others
    by_image, read_from = _by_image(pages, images or inside, labels, names)
    return coco_content(by_image, classes, labels), [*files, *read_from]


def _pages(form: str, labels: str) -> tuple[list[Page], list[str]]:
    """What all label files say, and these with their folders."""
    function, ending = PAGES[form]
    files, folders = [os.path.basename(labels)], [os.path.dirname(labels)]
    if os.path.isdir(labels):
        files, folders = files_in(labels, (ending,))
    read_file = pkgutil.resolve_name(f"{__package__}.{function}")
    paths = [os.path.join(folders[0], file) for file in files]
    stems = (os.path.splitext(file)[0] for file in files)
    found = readable(lambda pair: [*read_file(*pair)], zip(paths, stems, strict=True))
    return [page for pages in found for page in pages], [*paths, *folders]


def _by_image(
    pages: Iterable[Page], root: str, source: str, names: str
) -> tuple[dict[str, Page], list[str]]:
    """The page of each image, of those that a list `names`, and what they were found by."""
    files, folders = files_in(root)
    find, found = finder(files), dict[str, Page]()

    def image_of(page: Page) -> tuple[str, Page]:
        there = (name for name in page.names if os.path.isabs(name) and os.path.isfile(name))
        image = find(*page.names) or next((os.path.relpath(name, root) for name in there), None)
        if image is None or image in found:
            what = "has no image" if image is None else f"has the image of {found[image].place}"
            cure = "correct the image folder or the name, or remove the label"
            raise DatasetError(f"{page.place} {what}, '{page.names[0]}', in '{root}': {cure}")
        return image, page

    for image, page in readable(image_of, pages):
        found[image] = page
    if names:
        wanted = {n: find(n) for n in read_split_list(names, known=(), example="2007_000027")}
        if lost := [name for name, image in wanted.items() if image not in found]:
            told = f"{len(lost)} of {len(wanted)} names have no image with labels"
            raise DatasetError(f"'{names}': {told}, such as '{lost[0]}': correct the list")
        found = {image: found[image] for image in wanted.values()}
    elif without := len({*files} - {*found}):
        logger.warning("%s: %d images of '%s' have no labels: left out", source, without, root)
    sized = [os.path.join(root, image) for image, page in found.items() if not page.size]
    pages = {os.path.join(root, image): page for image, page in found.items()}
    return pages, [*sized, *folders, *[names] * bool(names)]


def coco_content(
    pages: dict[str, Page], classes: Sequence[str], source: str, **category: Any
) -> dict:
    """Return the COCO dictionary of images with their pages; `category` are further keys of each.

    `source` is named in messages.
    """
    ids = {name: k for k, name in enumerate(classes, start=1)}
    images, numbered = [], list[tuple[int, dict[str, Any]]]()

    sizes = image_sizes({path: True for path, page in pages.items() if not page.size})
    for number, path in enumerate(sorted(pages), start=1):
        width, height = pages[path].size or sizes[path]
        images.append({"id": number, "file_name": path, "width": width, "height": height})
        numbered += [(number, entry) for entry in pages[path].objects if entry["box"]]

    def annotation(pair: tuple[int, dict[str, Any]]) -> dict[str, Any]:
        number, entry = pair
        if (label := entry["label"]) not in ids:
            told = f"'{label}' is none of the classes {classes[:20]}"
            raise DatasetError(f"{entry[PLACE]}: {told}: correct it, or list it with them")
        x, y, right, bottom = entry["box"]
        own = {"bbox": [x, y, right - x, bottom - y], "area": (right - x) * (bottom - y)}
        return {**entry, **own, "image_id": number, "category_id": ids[label]}

    annotations = [{**e, "id": k} for k, e in enumerate(readable(annotation, numbered), start=1)]
    if flat := sum(not entry["box"] for page in pages.values() for entry in page.objects):
        logger.warning("%s: %d points, lines and the like are no boxes: left out", source, flat)
    categories = [{"id": k, "name": name, **category} for name, k in ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


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
        path = name.replace("\\", "/")
        stem, ending = os.path.splitext(path)
        path = stem if ending.lower() in IMAGE_ENDINGS else path
        return [path, path.rpartition("/")[2]]

    def find(*names: str) -> str | None:
        for key in (key for name in names for key in keys(name) if key in named):
            if len(found := named[key]) == 1:
                return found[0]
            raise DatasetError(f"'{key}' may be '{found[0]}' or '{found[1]}': rename one of them")
        return None

    named: dict[str, list[str]] = {}
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
