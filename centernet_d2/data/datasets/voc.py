"""Pascal VOC folders: `Annotations/*.xml`, `ImageSets/Main/<split>.txt`, `JPEGImages/`.

detectron2 registers `voc_2007_trainval` and its kin itself; those names stay and their records hold
what they held. Read here, they also say which objects are difficult (evaluation leaves those out),
a split may come without annotations, and every surprise is named.

Coordinates: VOC counts pixels from 1 and a box includes both its corners. The records' boxes are
edges, XYXY: (xmin - 1, ymin - 1, xmax, ymax), as detectron2 and the COCO files that the published
points models were trained on have it. The first pixel alone is (1, 1, 1, 1) there, (0, 0, 1, 1)
here.
"""

from __future__ import annotations

import logging
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager

from ..checks import DatasetError, check_boxes
from .from_files import FileDataset, split_folder
from .split_list import read_split_list

logger = logging.getLogger(__name__)

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
CLASS_FILE = "classes.txt"  # in a folder of VOC's form with other classes: one name per line

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class _Objects:
    """What one XML says: size as (width, height), and per object class, difficult and box."""

    size: tuple[int, int]
    classes: list[int]
    difficult: list[bool]
    boxes: list[list[float]]  # as in the file: 1-based, both corners included


def read_form(spec: str) -> FileDataset:
    """Read `voc:<folder>:<split>`; see `from_files.register_dataset_form`."""
    folder, split = split_folder(spec, holds="Annotations, ImageSets/Main and JPEGImages")
    base = os.path.basename(folder)

    def register(name: str) -> None:
        read_split(folder, split)  # a wrong folder or split is said now, not when the data is used
        year = re.search(r"(?:19|20)\d\d$", base)
        register_voc_split(
            name,
            folder,
            split,
            class_names=_class_names(folder),
            year=int(year.group()) if year else 2012,
        )

    return FileDataset(f"{base}_{split}", (folder, split), register)


def _class_names(folder: str) -> Sequence[str]:
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


def register_voc_split(
    name: str,
    folder: str,
    split: str,
    *,
    class_names: Sequence[str] = VOC_CLASSES,
    year: int = 2012,
    labelled: bool | None = None,
) -> None:
    """Register one split of a folder of VOC's form; nothing is read before it is used.

    Args:
        name: dataset name.
        folder: holds `Annotations`, `ImageSets/Main` and `JPEGImages`.
        split: file in `ImageSets/Main`, without ".txt".
        class_names: names as the XML files have them.
        year: 2007 makes the 11-point AP the split's own metric, later years the every-point AP.
        labelled: see `load_voc_records`.
    """
    DatasetCatalog.register(
        name, lambda: load_voc_records(folder, split, class_names, labelled=labelled)
    )
    MetadataCatalog.get(name).set(**voc_metadata(folder, split, class_names, year=year))


def voc_metadata(
    folder: str, split: str, class_names: Sequence[str] = VOC_CLASSES, *, year: int
) -> dict[str, Any]:
    """Return what the metadata of a split says, under detectron2's keys."""
    return {
        "thing_classes": list(class_names),
        "dirname": folder,
        "year": year,
        "split": split,
        "evaluator_type": "pascal_voc",
    }


def load_voc_records(
    folder: str,
    split: str,
    class_names: Sequence[str] = VOC_CLASSES,
    *,
    labelled: bool | None = None,
) -> list[dict]:
    """Return detectron2's standard records of a split, in the order of its list.

    Keys: file_name, image_id (a string), as_stored (True: the pixels are not turned by an EXIF
    orientation, which VOC's annotations do not know) and, in a labelled split, height, width and
    annotations (bbox, bbox_mode XYXY_ABS, category_id, difficult 0 or 1). Difficult objects and
    images without objects are kept.

    Args:
        folder: holds `Annotations`, `ImageSets/Main` and `JPEGImages`.
        split: file in `ImageSets/Main`, without ".txt".
        class_names: names as the XML files have them.
        labelled: False: no XML is read and records have no "annotations"; True: every image must
            have its XML; None: False where not one image has one.

    Raises:
        FileNotFoundError: the list, images or XML files are missing.
        DatasetError: the list or an XML file is malformed.
    """
    identifiers = read_split(folder, split)
    files = _image_files(folder, split, identifiers)
    annotation_folder = os.path.join(folder, "Annotations")
    if labelled is None:
        labelled = not _stems(annotation_folder, ".xml").keys().isdisjoint(identifiers)
    records = [
        {"file_name": files[identifier], "image_id": identifier, "as_stored": True}
        for identifier in identifiers
    ]
    if not labelled:
        logger.info("%s, split %s: %d images, no annotations", folder, split, len(records))
        return records
    objects = _read_annotations(annotation_folder, split, identifiers, class_names)
    kept = _kept_boxes(folder, objects)
    for record, found, keep in zip(records, objects.values(), kept, strict=True):
        record["width"], record["height"] = found.size
        record["annotations"] = list(_annotations(found, keep))
    _log_counts(folder, split, records)
    return records


def read_split(folder: str, split: str) -> list[str]:
    """Return the image names that `ImageSets/Main/<split>.txt` lists, in its order.

    Raises:
        FileNotFoundError: no such list; the message names those that there are.
        DatasetError: it is empty or names an image twice.
    """
    path = os.path.join(folder, "ImageSets", "Main", f"{split}.txt")
    if not PathManager.isfile(path):
        there = sorted(_stems(os.path.dirname(path), ".txt"))
        raise FileNotFoundError(
            f"image list '{path}' does not exist. "
            + (
                f"Splits in this folder: {', '.join(there[:10])}"
                if there
                else f"A VOC folder holds Annotations, ImageSets/Main and JPEGImages; unpack the "
                f"VOCdevkit so that '{folder}' is such a folder (detectron2's datasets root is "
                "$DETECTRON2_DATASETS, else ./datasets)"
            )
        )
    return read_split_list(path, example="2007_000027 (without .jpg)")


def _image_files(folder: str, split: str, identifiers: Sequence[str]) -> dict[str, str]:
    root = os.path.join(folder, "JPEGImages")
    there = _stems(root, ".jpg", ".jpeg", ".png")
    missing = [identifier for identifier in identifiers if identifier not in there]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(identifiers)} images of split '{split}' are not in "
            f"'{root}', such as '{missing[0]}.jpg': unpack the archive of the images again, or "
            "correct the list"
        )
    return {identifier: os.path.join(root, there[identifier]) for identifier in identifiers}


def _stems(folder: str, *endings: str) -> dict[str, str]:
    """Return file name without ending -> file name, of the files with these endings."""
    if not PathManager.isdir(folder):
        return {}
    names = [os.path.splitext(name) for name in sorted(PathManager.ls(folder))]
    return {stem: stem + ending for stem, ending in names if ending.lower() in endings}


def _read_annotations(
    folder: str, split: str, identifiers: Sequence[str], class_names: Sequence[str]
) -> dict[str, _Objects]:
    """Return image name -> its objects."""
    there = _stems(folder, ".xml")
    missing = [identifier for identifier in identifiers if identifier not in there]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(identifiers)} images of split '{split}' have no file in "
            f"'{folder}', such as '{missing[0]}.xml': unpack the archive of the annotations too "
            "(for VOC 2007 test it is another one than for trainval), or correct the list"
        )
    local = PathManager.get_local_path(folder)
    indices = {name: index for index, name in enumerate(class_names)}
    return {
        identifier: read_annotation(os.path.join(local, there[identifier]), indices)
        for identifier in identifiers
    }


def read_annotation(path: str, class_indices: dict[str, int]) -> _Objects:
    """Parse one XML.

    Raises:
        DatasetError: it is no XML, lacks an element, or has a class that `class_indices` has not.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise DatasetError(
            f"'{path}' is no valid XML ({error}): it is truncated or another kind of file; copy it "
            "again"
        ) from error
    size = tuple(_number(root, f"size/{side}", path) for side in ("width", "height"))
    if min(size) < 1:
        raise DatasetError(
            f"'{path}': <size> says {size[0]:g} x {size[1]:g} pixels: write the width and height "
            "of the image"
        )
    found = _Objects((int(size[0]), int(size[1])), [], [], [])
    for element in root.findall("object"):
        name = (element.findtext("name") or "").strip()
        if name not in class_indices:
            raise DatasetError(
                f"'{path}': an <object> has <name> '{name}', which is none of the classes "
                f"{list(class_indices)[:20]}. Correct it or, where the folder has classes of its "
                f"own, list them in '{CLASS_FILE}' in the folder, one per line"
            )
        found.classes.append(class_indices[name])
        found.difficult.append((element.findtext("difficult") or "0").strip() == "1")
        found.boxes.append([_number(element, f"bndbox/{corner}", path) for corner in _CORNERS])
    return found


def _number(element: ElementTree.Element, tag: str, path: str) -> float:
    text = element.findtext(tag)
    try:
        return float(text)  # some boxes of VOC 2012 have decimals
    except (TypeError, ValueError):
        what = f"is '{text}'" if text is not None else "is missing"
        name = element.findtext("name")
        where = f"of object '{name}' " if name else ""
        raise DatasetError(
            f"'{path}': <{tag.replace('/', '><')}> {where}{what}; it must be a number. Annotate "
            "the image again, or take it out of the split's list"
        ) from None


def _kept_boxes(folder: str, objects: dict[str, _Objects]) -> Iterator[np.ndarray]:
    """Check all boxes at once; yield per image which to keep."""
    counts = [len(found.boxes) for found in objects.values()]
    boxes = np.array([box for found in objects.values() for box in found.boxes]).reshape(-1, 4)
    owners = np.repeat(np.arange(len(counts)), counts)
    identifiers = list(objects)
    sizes = np.array([found.size for found in objects.values()])
    report = check_boxes(
        np.concatenate([boxes[:, :2] - 1, boxes[:, 2:] - boxes[:, :2] + 1], axis=1),
        sizes[owners],
        source=os.path.join(folder, "Annotations"),
        describe=lambda row: f"'{identifiers[owners[row]]}.xml' (edges x, y, width, height)",
    )
    for message in report.messages:
        logger.warning(message)
    return iter(np.split(report.keep, np.cumsum(counts)[:-1]))


def _annotations(found: _Objects, keep: np.ndarray) -> Iterator[dict]:
    rows = zip(found.classes, found.difficult, found.boxes, keep.tolist(), strict=True)
    for category, difficult, (left, top, right, bottom), is_kept in rows:
        if is_kept:
            yield {
                "category_id": category,
                "bbox": [left - 1.0, top - 1.0, right, bottom],
                "bbox_mode": BoxMode.XYXY_ABS,
                "difficult": int(difficult),
            }


def _log_counts(folder: str, split: str, records: list[dict]) -> None:
    annotations = [entry for record in records for entry in record["annotations"]]
    logger.info(
        "%s, split %s: %d images (%d without objects), %d boxes (%d difficult)",
        folder,
        split,
        len(records),
        sum(not record["annotations"] for record in records),
        len(annotations),
        sum(entry["difficult"] for entry in annotations),
    )
