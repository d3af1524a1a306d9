"""Pascal VOC folders: `Annotations/*.xml`, `ImageSets/Main/<split>.txt`, `JPEGImages/`.

detectron2's names (`voc_2007_trainval`) stay, and their records hold what they held, and which
objects are difficult.

Coordinates: VOC counts pixels from 1 and a box includes both its corners. The records' boxes are
edges, XYXY: (xmin - 1, ymin - 1, xmax, ymax), as detectron2 and the COCO files that the published
points models were trained on have it. The first pixel alone is (1, 1, 1, 1) there, (0, 0, 1, 1)
here.
"""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.pascal_voc import CLASS_NAMES as VOC_CLASSES
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager

from ...progress import say
from ..checks import RELATIVE_SHARE, DatasetError, RowsError, drop_useless_boxes
from ..checks.findings import readable, reads_on, refuse
from ..images import image_sizes
from . import folders
from .choices import is_chosen
from .folders import CLASS_FILE, files_by_stem
from .from_files import FileDataset, path_and_rest, split_folder
from .label_files import read_form as read_two_folders
from .voc_xml import VocObject, read_xml

logger = logging.getLogger(__name__)

_LISTS = os.path.join("ImageSets", "Main")
_PARTS = {  # endings of the files, and what to do where one is missing
    "JPEGImages": ((".jpg", ".jpeg", ".png"), "unpack the archive of the images"),
    "Annotations": (
        (".xml",),
        "unpack the archive of the annotations too (for VOC 2007 test it is another one than for "
        "trainval); set DATASETS.VOC.MISSING_XML negative where images without objects have none",
    ),
}


def read_form(spec: str) -> FileDataset:
    """Read `voc:<folder>:<split>` or two folders; see `from_files.register_dataset_form`."""
    if _two_folders(spec):
        return read_two_folders(spec)
    folder, split = split_folder(spec, holds="Annotations, ImageSets/Main and JPEGImages")
    read_split(folder, split)  # a wrong folder or split is said now, not when the data is used
    base = os.path.basename(folder)
    year = re.search(r"(?:19|20)\d\d$|$", base)[0] or 2012

    def register(name: str) -> None:
        classes = folders.read_class_names(folder) or _own_classes(folder)
        register_voc_split(name, folder, split, class_names=classes, year=int(year))

    return FileDataset(f"{base}_{split}", (folder, split), register)


def _two_folders(spec: str) -> bool:
    """Whether it names the folders of XML files and images, and not a split of the first."""
    with suppress(ValueError):
        folder, rest = path_and_rest(spec, "folder")
        images = path_and_rest(spec, "folder", rest)[0] if rest else ""
        own = PathManager.isfile(os.path.join(folder, _LISTS, f"{rest}.txt"))
        return PathManager.isdir(images) and not own
    return False


def _own_classes(folder: str) -> Sequence[str]:
    """VOC's classes, or those of the XML files of all splits where these have others."""
    root = os.path.join(folder, "Annotations")
    classes: set[str] = set()
    for path in files_by_stem(root, ".xml").values():
        with suppress(DatasetError):  # what is wrong with a file its reading will say
            classes.update(name for name, _, _ in read_xml(path)[2])
    if classes <= {*VOC_CLASSES}:
        return VOC_CLASSES
    say(f"{folder} has no {CLASS_FILE}: classes of its XML files: {', '.join(sorted(classes))}")
    return sorted(classes)


def register_voc_split(
    name: str,
    folder: str,
    split: str,
    *,
    class_names: Sequence[str] = VOC_CLASSES,
    year: int = 2012,
    labelled: bool | None = None,
) -> None:
    """Register a split of a VOC folder, which is read when it is used; see `load_voc_records`.

    `year` 2007 makes the 11-point AP the split's own metric, later years the every-point AP.
    """
    load = partial(load_voc_records, folder, split, class_names, labelled=labelled, name=name)
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(**split_metadata(folder, split, class_names, year=year))


def split_metadata(
    folder: str, split: str, class_names: Sequence[str] = VOC_CLASSES, *, year: int
) -> dict[str, Any]:
    """Return what the metadata of a split says, under detectron2's keys."""
    where = {"dirname": folder, "year": year, "split": split}
    return {"thing_classes": list(class_names), "evaluator_type": "pascal_voc", **where}


def load_voc_records(
    folder: str,
    split: str,
    class_names: Sequence[str] = VOC_CLASSES,
    *,
    labelled: bool | None = None,
    missing_xml: str = "error",
    name: str = "",
) -> list[dict]:
    """Return detectron2's standard records of a split, in the order of its list.

    They also say as_stored (True: the pixels are not turned by an EXIF orientation, which VOC's
    annotations do not know) and of each object whether it is difficult (0 or 1).

    `class_names` are those in the XML files. `labelled` False: no XML is read and records have no
    "annotations"; True: every image must have its XML; None: False where not one image has one.
    With `missing_xml` "negative", or where that was chosen for the dataset `name`, images without
    one, beside others that have one, have no objects.

    Raises:
        FileNotFoundError: the list, images or XML files are missing.
        DatasetError: the list or an XML file is malformed.
        ImageFileError: an image without XML is none.
    """
    names = read_split(folder, split)
    images = _files(folder, "JPEGImages", names, split)
    records: list[dict] = [
        {"file_name": image, "image_id": name, "as_stored": True} for name, image in images.items()
    ]
    root = os.path.join(folder, "Annotations")
    paths = files_by_stem(root, ".xml")
    some = not paths.keys().isdisjoint(names)
    if not (some if labelled is None else labelled):
        return records
    if not (some and (missing_xml == "negative" or is_chosen(name, "without_xml"))):
        paths = _files(folder, "Annotations", names, split)
    if without := [name for name in names if name not in paths]:
        logger.warning(
            "%s: %d of the %d images of split '%s' have no XML file, such as '%s': taken as images "
            "without objects (DATASETS.VOC.MISSING_XML 'negative')",
            *(root, len(without), len(names), split, without[0]),
        )
    _add_annotations(records, paths, class_names)
    records = [record for record in records if "annotations" in record]  # the others are noted
    drop_useless_boxes(records, source=root, describe=lambda k: f"'{records[k]['image_id']}.xml'")
    return records


def read_split(folder: str, split: str) -> list[str]:
    """Return the image names that `ImageSets/Main/<split>.txt` lists, in its order.

    Raises:
        FileNotFoundError: no such list; the message names those that there are.
        DatasetError: it is empty or names an image twice.
    """
    path = os.path.join(folder, _LISTS, f"{split}.txt")
    if PathManager.isfile(path):
        images = files_by_stem(os.path.join(folder, "JPEGImages"), *_PARTS["JPEGImages"][0])
        return folders.read_split_list(path, known=images, example="2007_000027 (without .jpg)")
    there = sorted(files_by_stem(os.path.dirname(path), ".txt"))
    cure = f"Splits in this folder: {', '.join(there[:10])}"
    if not there:
        cure = (
            "A VOC folder holds Annotations, ImageSets/Main and JPEGImages; unpack the VOCdevkit "
            f"so that '{folder}' is such a folder (detectron2's datasets root is "
            "$DETECTRON2_DATASETS, else ./datasets); other folders are named as "
            "'voc:<annotation dir>:<image dir>'"
        )
    raise FileNotFoundError(f"image list '{path}' does not exist. {cure}")


def _files(folder: str, part: str, names: Sequence[str], split: str) -> dict[str, str]:
    """Return name -> file in one part of a folder."""
    endings, cure = _PARTS[part]
    root = os.path.join(folder, part)
    there = files_by_stem(root, *endings)
    if missing := [name for name in names if name not in there]:
        named = folders.as_files_are_named(missing, there)
        raise FileNotFoundError(
            f"{len(missing)} of the {len(names)} images of split '{split}' have no file in "
            f"'{root}', such as '{missing[0]}{endings[0]}'"
            + (named or f": {cure}, or correct the list")
        )
    return {name: there[name] for name in names}


def _add_annotations(
    records: Sequence[dict], paths: Mapping[str, str], class_names: Sequence[str]
) -> None:
    """Add size and annotations to records, or raise DatasetError that counts unknown classes."""
    indices = {name: index for index, name in enumerate(class_names)}
    unknown: dict[str, list[str]] = {}
    in_first = count = 0  # of all boxes: those whose corners are no more than 1, in larger images
    alone = (r["file_name"] for r in records if r["image_id"] not in paths)
    sizes = image_sizes(dict.fromkeys(alone, False))

    def read(record: dict) -> tuple[dict, int, int, Sequence[VocObject]]:
        path = paths.get(record["image_id"])
        return record, *(read_xml(path) if path else (*sizes[record["file_name"]], ()))

    for record, width, height, objects in readable(read, records):
        path = paths.get(record["image_id"])
        record |= {"width": width, "height": height, "annotations": []}
        for name, (x1, y1, x2, y2), difficult in objects:
            if name not in indices:
                unknown.setdefault(name, []).append(str(path))
                continue
            is_share = max(x2, y2) <= 1 < min(width, height) and x2 > x1 and y2 > y1
            in_first += is_share
            count += x2 > x1 and y2 > y1
            first = 0.0 if is_share and reads_on() else 1.0
            box = {"bbox": [x1 - first, y1 - first, x2, y2], "bbox_mode": BoxMode.XYXY_ABS}
            entry = {"category_id": indices[name], **box, "difficult": difficult}
            record["annotations"].append(entry)
    if in_first and in_first >= RELATIVE_SHARE * count and not reads_on():
        raise DatasetError(
            f"'{os.path.dirname(next(iter(paths.values())))}': {in_first} of {count} boxes have no "
            "corner above 1, in images that are larger. These are shares of the image; <bndbox> is "
            "in pixels: multiply x by the image's width, y by its height"
        )
    if unknown:
        counts = sorted(unknown.items(), key=lambda item: -len(item[1]))
        told = [f"'{name}' ({len(where)}, as in '{where[0]}')" for name, where in counts[:20]]
        message = (
            f"{sum(map(len, unknown.values()))} objects have a <name> that is none of the classes "
            f"{list(class_names)[:20]}: {', '.join(told)}. Correct it or, where the folder has "
            f"classes of its own, list them in '{CLASS_FILE}' in the folder, one per line"
        )
        told = (f"'{path}': '{name}' is no class" for name, where in counts for path in where)
        refuse(RowsError(message, told=told))
