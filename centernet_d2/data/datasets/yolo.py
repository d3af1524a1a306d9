"""`yolo:<data.yaml or folder>[:<split>]`: YOLO's label files, of boxes, outlines or joints.

A label file is beside its image, or where `labels` stands for the last folder `images` of the path.
Lines are "class x y width height", shares of the image with the middle of the box, then joints, or
"class x y x y ..." with the outline. An image without label file has no objects.
"""

import logging
import os
from collections.abc import Sequence
from typing import Any

import yaml

from ...progress import say
from ...text_files import TextFileError, read_text
from ..checks import DatasetError
from ..checks.findings import readable
from ..images import image_sizes
from .coco_json import coco_dataset
from .columns import PLACE
from .from_files import FileDataset, path_and_rest
from .label_files import IMAGE_ENDINGS, SPLITS, Page, around, coco_content, files_in, number

logger = logging.getLogger(__name__)

NAME_FILES = ("obj.names", "classes.txt", "_darknet.labels", os.path.join("labels", "classes.txt"))
_SLACK = 0.01  # by which shares may leave 0..1


def read_form(spec: str) -> FileDataset:
    """Read a specification; see `from_files.register_dataset_form`."""
    path, split = path_and_rest(spec, "data.yaml or folder")
    source, content = read_config(path)
    splits = [key for key in SPLITS if content.get(key)]
    split = {"val": "valid", "valid": "val"}.get(split, split) if split not in splits else split
    split = split or (splits[0] if len(splits) == 1 else "")
    if split not in (splits or [""]):
        cure = " or ".join(f"'yolo:{path}:{name}'" for name in splits) or f"'yolo:{path}'"
        raise ValueError(f"dataset '{spec}': '{source}' has the splits {splits}: write {cure}")
    parts = (path, *[split] * bool(split))
    folder = os.path.basename(os.path.dirname(source))
    return coco_dataset("_".join([folder, *parts[1:]]), parts, ":".join(["yolo", *parts]))


def read_config(path: str) -> tuple[str, dict[str, Any]]:
    """Return a data.yaml, given or in a folder, and its keys, else a file of class names."""
    inside = sorted(os.listdir(path)) if os.path.isdir(path) else [""]
    for file in (os.path.join(path, name) if name else path for name in inside):
        try:
            content = yaml.safe_load(read_text(file)) if file.endswith((".yaml", ".yml")) else None
        except (yaml.YAMLError, TextFileError) as error:
            told = " ".join(str(error).split())
            raise DatasetError(f"'{file}' is no valid YAML: {told}. Correct it") from error
        if isinstance(content, dict) and "names" in content:
            return file, content
    for file in (os.path.join(path, name) for name in NAME_FILES):
        if os.path.isfile(file):
            names = [name.strip() for name in read_text(file).split("\n") if name]
            return file, {"names": names, "path": path}
    raise DatasetError(
        f"'{path}' is no YAML with 'names', and has none and none of {', '.join(NAME_FILES)}: "
        "write the class names into classes.txt there, one per line"
    )


def read(spec: str) -> tuple[dict, list[str]]:
    """Return the COCO dictionary of an absolute specification, and the files behind it."""
    path, split = path_and_rest(spec, "")
    source, content = read_config(path)
    names, (count, dims) = _class_names(content, source)
    category = _joints(content, count, source)
    images, files = _images(content[split] if split else ".", source, content.get("path"))
    labels = {image: _label_path(image) for image in images}
    without = {image: 0 for image, label in labels.items() if not os.path.isfile(label)}
    if without:
        told = f"'{source}': {len(without)} of {len(labels)} images have no label file"
        if len(without) == len(labels):
            image, label = next(iter(labels.items()))
            raise DatasetError(
                f"{told}; that of '{image}' would be '{label}'. Put the folders 'images' and "
                "'labels' side by side"
            )
        say(f"{told}: they have no objects")
    if alone := _labels_alone(labels):
        told = "label files have no image with an ending of"
        endings = " ".join(IMAGE_ENDINGS)
        logger.warning("%s: %d %s %s: '%s'; left out", source, len(alone), told, endings, alone[0])

    sizes = image_sizes(dict.fromkeys(labels, True))
    pages = {image: Page((), "", size, []) for image, size in sizes.items()}
    rows: list[tuple[str, str, list[str]]] = []
    for image in pages:
        label = labels[image]
        lines = [] if image in without else read_text(label).split("\n")
        words = ((f"'{label}', line {row}", line.split()) for row, line in enumerate(lines, 1))
        rows += [(image, *pair) for pair in words if pair[1]]

    def read_row(row: tuple[str, str, list[str]]) -> tuple[str, dict[str, Any]]:
        image, place, words = row
        return image, _object(words, names, (count, dims), pages[image].size, place)

    for image, found in readable(read_row, rows):
        pages[image].objects.append(found)
    files += [source, *labels, *labels.values(), *{os.path.dirname(x) for x in labels.values()}]
    return coco_content(pages, names, source, **category), files


def _class_names(content: dict, source: str) -> tuple[list[str], tuple[int, int]]:
    """The classes, and the number of joints and of the numbers of each."""
    names, (count, dims) = content["names"], content.get("kpt_shape") or (0, 3)
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[key] for key in sorted(names)]
    if not isinstance(names, list) or not names or dims not in (2, 3):
        raise DatasetError(
            f"'{source}': 'names' must list the classes, or number them 0, 1, 2 ..., and kpt_shape "
            f"be [joints, 2 or 3]; they are {names!r:.100} and {[count, dims]}"
        )
    return [str(name) for name in names], (count, dims)


def _label_path(image: str) -> str:
    beside = f"{os.path.splitext(image)[0]}.txt"
    head, folder, tail = beside.rpartition(f"{os.sep}images{os.sep}")
    return os.path.join(head, "labels", tail) if folder and not os.path.isfile(beside) else beside


def _labels_alone(labels: dict[str, str]) -> list[str]:
    """The label files of folders `labels` whose image is not there, or not of a known ending."""
    folders = {os.path.dirname(label): os.path.dirname(image) for image, label in labels.items()}
    alone = []
    for folder, images in folders.items():
        if folder != images:  # beside images may lie texts that are no labels
            known = {os.path.splitext(name)[0] for name in files_in(images)[0]}
            texts = (n for n in sorted(os.listdir(folder)) if n.endswith(".txt"))
            texts = (n for n in texts if n not in NAME_FILES and n[:-4] not in known)
            alone += [os.path.join(folder, name) for name in texts]
    return alone


def _object(
    words: Sequence[str],
    names: Sequence[str],
    pose: tuple[int, int],
    size: tuple[int, int],
    place: str,
) -> dict[str, Any]:
    """The object of one line; `pose` is the number of joints and of the numbers of each."""
    label, *values = (number(word, place) for word in words)
    if not (label == int(label) and 0 <= label < len(names)):
        told = f"class {words[0]} is none of the {len(names)} 'names' (from 0)"
        raise DatasetError(f"{place}: {told}")
    count, dims = pose
    is_outline = not count and len(values) >= 6 and len(values) % 2 == 0
    if len(values) != 4 + count * dims and not is_outline:
        more = f", {count} joints of {dims}" if count else ", or x y of an outline"
        score = "; a fifth is a detection's score, not a label's" * (len(values) == 5)
        told = f"{len(values)} numbers behind the class; it must be x y width height"
        raise DatasetError(f"{place}: {told}{more}{score}")
    x, y, w, h = values[:4]
    box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    if is_outline:
        box = around(list(zip(values[::2], values[1::2], strict=True)))
    if not all(-_SLACK <= share <= 1 + _SLACK for share in (values if is_outline else values[:4])):
        raise DatasetError(
            f"{place}: {' '.join(words[1:5])} are no shares of the image: divide x and width by "
            "its width in pixels, y and height by its height"
        )
    box = [share * side for share, side in zip(box, size * 2, strict=True)]
    found = {"label": names[int(label)], "box": box, PLACE: place}
    if count:  # without a visibility, joints at 0, 0 or outside are unlabelled
        rows = [values[k : k + dims] for k in range(4, len(values), dims)]
        seen = [r[2] if dims == 3 else 2 * (min(r) >= 0 and max(r) > 0) for r in rows]
        joints = ((r[0] * size[0], r[1] * size[1], v) for r, v in zip(rows, seen, strict=True))
        found["keypoints"] = [value for joint in joints for value in joint]
    return found


def _joints(content: dict, count: int, source: str) -> dict[str, Any]:
    """What the categories say of joints, by `flip_idx` and `kpt_names`."""
    if not count:
        return {}
    names = content.get("kpt_names") or [f"joint_{k}" for k in range(count)]
    names = next(iter(names.values())) if isinstance(names, dict) else names
    flips = content.get("flip_idx") or list(range(count))
    if (
        len(names) != count
        or sorted(flips) != list(range(count))
        or any(flips[k] != flips.index(k) for k in flips)
    ):
        raise DatasetError(
            f"'{source}': kpt_names {names} and flip_idx {flips} must have {count} entries each, "
            "as kpt_shape says, and a flip exchange joints in pairs"
        )
    pairs = [[names[k], names[other]] for k, other in enumerate(flips) if k < other]
    return {"keypoints": names} | ({"keypoint_flip_map": pairs} if "flip_idx" in content else {})


def _images(entries: str | list[str], source: str, path: str | None) -> tuple[list[str], list[str]]:
    """The images of folders or lists in a data.yaml, and the files and folders that say so."""
    base = os.path.dirname(source)
    roots, images, files = [os.path.join(base, path or ""), base], set(), []
    for entry in entries if isinstance(entries, list) else [entries]:
        place = _existing(str(entry), roots, f"'{source}'")
        files.append(place)
        if os.path.isdir(place):
            found, folders = files_in(place)
            images |= {os.path.join(place, name) for name in found}
            files += folders
            continue
        for row, line in enumerate(read_text(place).split("\n"), start=1):
            if line.strip():
                where = f"'{place}', line {row}"
                images.add(_existing(line.strip(), [os.path.dirname(place), *roots], where))
    return sorted(images), files


def _existing(path: str, roots: Sequence[str], place: str) -> str:
    """Where a path of a data.yaml or list is."""
    # Roboflow writes ../train/images beside train, CVAT data/ before folders that lie beside.
    forms = (path, path.removeprefix("../"), path.removeprefix("./").removeprefix("data/"))
    tried = [os.path.normpath(os.path.join(root, form)) for form in forms for root in roots]
    found = next((each for each in tried if os.path.exists(each)), "")
    if os.path.isdir(found) or (found and found.lower().endswith((*IMAGE_ENDINGS, ".txt"))):
        return found
    told = f"'{path}' is no folder, image or list at '{tried[0]}': correct it"
    raise DatasetError(f"{place}: {told}")
