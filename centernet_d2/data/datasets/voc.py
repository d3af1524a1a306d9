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
from collections.abc import Sequence
from functools import partial
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager

from ..checks import DatasetError, drop_useless_boxes
from .folders import CLASS_FILE, files_by_stem, read_class_names, read_split_list
from .from_files import FileDataset, split_folder

logger = logging.getLogger(__name__)

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_form(spec: str) -> FileDataset:
    """Read `voc:<folder>:<split>`; see `from_files.register_dataset_form`."""
    folder, split = split_folder(spec, holds="Annotations, ImageSets/Main and JPEGImages")
    base = os.path.basename(folder)
    year = re.search(r"(?:19|20)\d\d$", base)

    def register(name: str) -> None:
        read_split(folder, split)  # a wrong folder or split is said now, not when the data is used
        classes = read_class_names(folder) or VOC_CLASSES
        year_of_scores = int(year.group()) if year else 2012
        register_voc_split(name, folder, split, class_names=classes, year=year_of_scores)

    return FileDataset(f"{base}_{split}", (folder, split), register)


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

    `year` 2007 makes the 11-point AP the split's own metric, later years the every-point AP. The
    other arguments are those of `load_voc_records`.
    """
    load = partial(load_voc_records, folder, split, class_names, labelled=labelled)
    DatasetCatalog.register(name, load)
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

    `class_names` are those in the XML files. `labelled` False: no XML is read and records have no
    "annotations"; True: every image must have its XML; None: False where not one image has one.

    Raises:
        FileNotFoundError: the list, images or XML files are missing.
        DatasetError: the list or an XML file is malformed.
    """
    names = read_split(folder, split)
    images = _files(os.path.join(folder, "JPEGImages"), names, split, ".jpg", ".jpeg", ".png")
    records = [
        {"file_name": image, "image_id": name, "as_stored": True}
        for name, image in zip(names, images, strict=True)
    ]
    root = os.path.join(folder, "Annotations")
    if labelled is None:
        labelled = not files_by_stem(root, ".xml").keys().isdisjoint(names)
    if not labelled:
        logger.info("%s, split %s: %d images, no annotations", folder, split, len(records))
        return records
    indices = {name: index for index, name in enumerate(class_names)}
    for record, path in zip(records, _files(root, names, split, ".xml"), strict=True):
        record.update(read_annotation(PathManager.get_local_path(path), indices))
    drop_useless_boxes(records, source=root, describe=lambda r: f"'{r['image_id']}.xml'")
    entries = [entry for record in records for entry in record["annotations"]]
    logger.info(
        "%s, split %s: %d images (%d without objects), %d boxes (%d difficult)",
        *(folder, split, len(records), sum(not record["annotations"] for record in records)),
        *(len(entries), sum(entry["difficult"] for entry in entries)),
    )
    return records


def read_split(folder: str, split: str) -> list[str]:
    """Return the image names that `ImageSets/Main/<split>.txt` lists, in its order.

    Raises:
        FileNotFoundError: no such list; the message names those that there are.
        DatasetError: it is empty or names an image twice.
    """
    path = os.path.join(folder, "ImageSets", "Main", f"{split}.txt")
    if PathManager.isfile(path):
        return read_split_list(path, example="2007_000027 (without .jpg)")
    there = sorted(files_by_stem(os.path.dirname(path), ".txt"))
    cure = f"Splits in this folder: {', '.join(there[:10])}"
    if not there:
        cure = (
            "A VOC folder holds Annotations, ImageSets/Main and JPEGImages; unpack the VOCdevkit "
            f"so that '{folder}' is such a folder (detectron2's datasets root is "
            "$DETECTRON2_DATASETS, else ./datasets)"
        )
    raise FileNotFoundError(f"image list '{path}' does not exist. {cure}")


def _files(root: str, names: Sequence[str], split: str, *endings: str) -> list[str]:
    """Return the file of each name in a folder."""
    there = files_by_stem(root, *endings)
    missing = [name for name in names if name not in there]
    if missing:
        which = "images"
        if endings == (".xml",):
            which = "annotations too (for VOC 2007 test it is another one than for trainval)"
        raise FileNotFoundError(
            f"{len(missing)} of the {len(names)} images of split '{split}' have no file in "
            f"'{root}', such as '{missing[0]}{endings[0]}': unpack the archive of the {which}, or "
            "correct the list"
        )
    return [there[name] for name in names]


def read_annotation(path: str, class_indices: dict[str, int]) -> dict[str, Any]:
    """Parse one XML: width, height and annotations as `load_voc_records` returns them.

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
    width, height = (_number(root, f"size/{side}", path) for side in ("width", "height"))
    if min(width, height) < 1:
        raise DatasetError(
            f"'{path}': <size> says {width:g} x {height:g} pixels: write the width and height of "
            "the image"
        )
    annotations = []
    for element in root.findall("object"):
        name = (element.findtext("name") or "").strip()
        if name not in class_indices:
            raise DatasetError(
                f"'{path}': an <object> has <name> '{name}', which is none of the classes "
                f"{list(class_indices)[:20]}. Correct it or, where the folder has classes of its "
                f"own, list them in '{CLASS_FILE}' in the folder, one per line"
            )
        x1, y1, x2, y2 = (_number(element, f"bndbox/{corner}", path) for corner in _CORNERS)
        annotations.append(
            {
                "category_id": class_indices[name],
                "bbox": [x1 - 1.0, y1 - 1.0, x2, y2],
                "bbox_mode": BoxMode.XYXY_ABS,
                "difficult": int((element.findtext("difficult") or "0").strip() == "1"),
            }
        )
    return {"width": int(width), "height": int(height), "annotations": annotations}


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
