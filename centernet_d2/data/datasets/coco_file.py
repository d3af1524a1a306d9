"""A COCO JSON, parsed once per process into compact arrays, without polygons.

Training and scoring use this one checked form: what is dropped here is neither learned nor to be
found.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from detectron2.data import Metadata
from detectron2.utils.file_io import PathManager

from ...text_files import TextFileError, read_text
from ..checks import DatasetError, check_boxes
from ..checks.findings import Finding, notes, reads_on, without_refused
from . import columns
from .columns import ANNOTATION_COLUMNS, IMAGE_COLUMNS, Table

if TYPE_CHECKING:
    from ...structures.skeleton import Skeleton

_cache: dict[str, tuple[tuple, tuple, CocoFile, list[Finding]]] = {}
ROBOFLOW_FILE = "_annotations.coco.json"  # of an export, in the folder of each split
# Prefix of a specification -> what reads it as a COCO dictionary, in which annotations have their
# `PLACE`, and says which files and folders that was made of.
_READERS = dict.fromkeys(("voc", "csv", "labelme", "cvat"), "label_files:read")
_READERS["yolo"] = "yolo:read"


@dataclass(frozen=True)
class CocoFile:
    """What detection and pose need of a COCO JSON, by image id; M images, N useful annotations."""

    path: str
    categories: dict[int, str]  # id -> name, sorted by id; each name once
    image_ids: list[int]  # M
    file_names: list[str]  # M
    image_sizes: np.ndarray  # (M, 2) int64: width, height
    is_labelled: bool  # False: a split without the list "annotations", such as COCO's test-dev
    annotation_images: np.ndarray  # (N,) int64: row of the image
    annotation_ids: np.ndarray  # (N,) int64
    boxes: np.ndarray  # (N, 4) float64: x, y, width, height
    category_ids: np.ndarray  # (N,) int64
    areas: np.ndarray  # (N,) float64: in pixels, of the object's outline where the file has it
    crowd: np.ndarray  # (N,) bool
    ignored: np.ndarray  # (N,) bool: neither learned nor to be found, nor false when found
    skeleton: Skeleton | None = None  # of the categories that have joints
    pose_categories: tuple[int, ...] = ()  # their ids
    joints: np.ndarray | None = None  # (N, J, 3) float64: x, y as pixel indices, visibility
    image_columns: Sequence[dict] = ()  # M, see `columns.py`
    annotation_columns: Sequence[dict] = ()  # N

    def contiguous_ids(self) -> dict[int, int]:
        """Category id -> class index, in the order of the ids, as detectron2 maps them."""
        return {category: index for index, category in enumerate(self.categories)}

    def metadata(self) -> dict[str, Any]:
        """What the file says of its classes and joints, under detectron2's keys."""
        joints = {}
        if self.skeleton is not None:
            classes = [self.categories[identifier] for identifier in self.pose_categories]
            joints = {**self.skeleton.metadata(), "keypoint_classes": classes}
        names, ids = list(self.categories.values()), self.contiguous_ids()
        return {"thing_classes": names, "thing_dataset_id_to_contiguous_id": ids, **joints}

    def check_registered(self, metadata: Metadata) -> None:
        """Raise DatasetError where a dataset was registered from another version of the file.

        Datasets that are registered in code have names of their own, which are not compared.
        """
        if not metadata.get("file_spec"):
            return
        for key, value in self.metadata().items():
            if metadata.get(key) != value:
                raise DatasetError(
                    f"'{self.path}' has changed since dataset '{metadata.name}' was registered: "
                    f"'{key}' was {metadata.get(key)} and is {value}. Load the config anew and "
                    "call centernet_d2.setup(cfg), which registers it again"
                )


def is_label_spec(source: str) -> bool:
    """Whether a source is a specification of label files, and no path of a JSON."""
    return source.partition(":")[0] in _READERS and not os.path.exists(source)


def read_coco_json(source: str, *, skeleton: Skeleton | None = None) -> CocoFile:
    """Read a COCO instances (or image_info) JSON, or label files as one, and check it.

    Label files are named by a specification with absolute paths, "csv:<csv>:<image dir>". It is
    done once per process while the files are unchanged, and again where further columns are asked
    for since (see `columns.py`). `skeleton` names the joints of a file whose categories do not, of
    a dataset that is registered in code. FileNotFoundError, or a DatasetError that names file,
    record and key of what is wrong.
    """
    asked = frozenset(ANNOTATION_COLUMNS), frozenset(IMAGE_COLUMNS), skeleton, reads_on()
    cached, noted = _cache.get(source), notes()
    start = len(noted)
    if cached is None or cached[0] != asked or cached[1] != stamps(row[0] for row in cached[1]):
        if is_label_spec(source):
            reader = pkgutil.resolve_name(f"{__package__}.{_READERS[source.partition(':')[0]]}")
            content, files = reader(source)
            now = stamps(files)
        elif PathManager.isfile(source):
            now, content = stamps([source]), _parse(source)
        else:
            told = f"annotation file '{source}' does not exist: check the path of the dataset"
            raise FileNotFoundError(told)
        lists = [value for value in content.values() if isinstance(value, list)]
        read = without_refused(partial(_checked, content, source, skeleton), *lists)
        _cache[source] = cached = (asked, now, read, noted[start:])
    noted += [each for each in cached[3] if each not in noted]
    return cached[2]


def stamps(files: Iterable[str]) -> tuple:
    """What changes with any of the files; None for one that is not there."""

    def stamp(file: str) -> tuple | None:
        with contextlib.suppress(OSError):
            status = os.stat(PathManager.get_local_path(file) if "://" in file else file)
            return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size
        return None

    return tuple((file, stamp(file)) for file in files)


def parse_json(source: str, hook: Callable[[dict], Any] | None = None) -> Any:
    """Return what a JSON file holds; DatasetError says what is wrong with it, and the cure."""
    try:
        text = read_text(source)
        return json.loads(text, object_hook=hook)
    except TextFileError as error:
        raise DatasetError(str(error)) from error
    except (ValueError, RecursionError) as error:
        told = f"'{source}' is no valid JSON ({error}): {_cause(text, error)}"
        raise DatasetError(told) from error


def _parse(source: str) -> dict:
    # Polygons are most of such a file: dropped while parsing unless a field asks for them.
    wants_them = "segmentation" in ANNOTATION_COLUMNS
    content = parse_json(source, None if wants_them else _without_polygons)
    if not isinstance(content, dict) or "images" not in content:
        inside = list(content)[:5] if isinstance(content, dict) else type(content).__name__
        raise DatasetError(
            f"'{source}' has no key 'images' (it holds {inside}): it is no COCO annotation file (a "
            "detection result file is no dataset)"
        )
    if os.path.basename(source) == ROBOFLOW_FILE:  # a category is the project, and no class
        tables = (Table.of(content, name, source) for name in ("categories", "annotations"))
        categories, annotations = (table.records for table in tables)
        used = [entry.get("category_id") for entry in annotations]
        above = {category.get("supercategory") for category in categories}
        kept = [c for c in categories if c.get("name") not in above or c.get("id") in used]
        content["categories"] = kept or categories
    return content


def _cause(text: str, error: Exception) -> str:
    """What is most likely wrong with a text that is no JSON, and the cure."""
    place = getattr(error, "pos", 0)
    before, rest = text[:place].rstrip(), text[place:].lstrip()
    if (before.endswith(",") and rest[:1] in ("]", "}")) or re.match(r",\s*[]}]", rest):
        return "a comma stands before the closing bracket; remove it"
    if rest.startswith("'"):
        return "names are in single quotes; write the file by json.dump, which takes double ones"
    if before and rest.startswith("{") and "Extra data" in str(error):
        return (
            "it has one object after the other, as JSON Lines; write one object with the lists "
            "'images', 'annotations' and 'categories'"
        )
    return "it is truncated or another kind of file; copy it again"


def _without_polygons(node: dict) -> dict:
    node.pop("segmentation", None)
    return node


def _checked(content: dict, source: str, skeleton: Skeleton | None) -> CocoFile:
    images, image_ids, sizes, file_names = _images(Table.of(content, "images", source))
    table = Table.of(content, "categories", source)
    categories = columns.class_names(table)
    annotations = Table.of(content, "annotations", source)
    annotations, owners = _with_images(annotations, image_ids, file_names)
    category_ids = annotations.whole_numbers("category_id")
    cure = f"'categories' defines {[*categories][:20]}. Add the categories or correct the ids"
    annotations.refuse(~np.isin(category_ids, [*categories]), "category_id", cure)
    rows = np.searchsorted(image_ids, owners)
    boxes = annotations.boxes()
    named = {"source": source, "describe": annotations.describe}
    kept = np.flatnonzero(check_boxes(boxes, sizes[rows], **named)[0])
    annotations = annotations.rows(kept)
    boxes, rows, category_ids = boxes[kept], rows[kept], category_ids[kept]
    ignored = annotations.flags("ignore")
    annotations.warn(
        ignored,
        "have 'ignore' 1",
        "They are not learned, and in the scores they are neither to be found nor is a detection "
        "there false, as in a crowd region",
    )
    pose, records = {}, (*table.records, *annotations.records)
    if skeleton is not None or any(record.get("keypoints") for record in records):
        from .coco_joints import read_pose  # executed for poses alone

        given = {"boxes": boxes, "image_sizes": sizes[rows], "skeleton": skeleton}
        pose = read_pose(table, annotations, **given)
    return CocoFile(
        path=source,
        categories=categories,
        image_ids=image_ids.tolist(),
        file_names=file_names,
        image_sizes=sizes,
        is_labelled="annotations" in content,
        annotation_images=rows,
        annotation_ids=np.array([int(r["id"]) for r in annotations.records], dtype=np.int64),
        boxes=boxes,
        category_ids=category_ids,
        areas=columns.areas(annotations, boxes),
        crowd=annotations.flags("iscrowd"),
        ignored=ignored,
        image_columns=columns.kept_columns(images.records, IMAGE_COLUMNS),
        annotation_columns=columns.kept_columns(annotations.records, ANNOTATION_COLUMNS),
        **pose,
    )


def _images(images: Table) -> tuple[Table, np.ndarray, np.ndarray, list[str]]:
    """The M images by id, their ids (M,), width and height (M, 2), and file names."""
    if not images.records:
        told = f"'{images.source}': 'images' is empty; a dataset needs at least one image"
        raise DatasetError(told)
    images = images.rows(np.argsort(images.ids(), kind="stable"))
    sizes = np.stack([images.whole_numbers(key) for key in ("width", "height")], axis=1)
    for key, lengths in zip(("width", "height"), sizes.T, strict=True):
        images.refuse(lengths <= 0, key, "the image has no pixels; correct it or remove the image")
    file_names = images.texts("file_name")
    counts = Counter(file_names)
    images.warn(
        [counts[name] > 1 for name in file_names],
        "have the 'file_name' of another one",
        "Each is an image of its own, without the other's objects. Join their annotations under "
        "one image id",
    )
    return images, images.ids(), sizes, file_names


def _with_images(
    annotations: Table, image_ids: np.ndarray, names: Sequence[str]
) -> tuple[Table, np.ndarray]:
    """The annotations of images that the file lists, all with ids, and their image ids."""
    owners = annotations.whole_numbers("image_id")
    known = np.isin(owners, image_ids)
    annotations.warn(
        ~known,
        "have an 'image_id' that is not in 'images' and are ignored",
        "The file is a part of a larger one, or its ids do not match",
    )
    if not known.all():
        annotations = annotations.rows(np.flatnonzero(known))
    columns.number_annotations(annotations)
    files = dict(zip(image_ids.tolist(), names, strict=True))
    return replace(annotations, files=files), owners[known]
