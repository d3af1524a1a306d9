"""A COCO JSON, parsed once per process into compact arrays, without polygons.

Training and scoring use this one checked form: what is dropped here is neither learned nor to be
found.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from detectron2.data import Metadata
from detectron2.utils.file_io import PathManager

from ...text_files import TextFileError, read_text
from ..checks import DatasetError, check_boxes
from ..checks.findings import reads_on, without_refused
from .columns import (
    ANNOTATION_COLUMNS,
    IMAGE_COLUMNS,
    Table,
    areas,
    class_names,
    kept_columns,
    number_annotations,
)

if TYPE_CHECKING:
    from ...structures.skeleton import Skeleton

logger = logging.getLogger(__name__)

_cache: dict[str, tuple[tuple, CocoFile]] = {}


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
        return {
            "thing_classes": list(self.categories.values()),
            "thing_dataset_id_to_contiguous_id": self.contiguous_ids(),
            **joints,
        }

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


def read_coco_json(json_file: str, *, skeleton: Skeleton | None = None) -> CocoFile:
    """Parse a COCO instances (or image_info) JSON, once per process while the file is unchanged.

    It is parsed again where further columns are asked for since (see `columns.py`). `skeleton`
    names the joints of a file whose categories do not, of a dataset that is registered in code.
    FileNotFoundError, or a DatasetError that names file, record and key of what is wrong.
    """
    if not PathManager.isfile(json_file):
        raise FileNotFoundError(
            f"annotation file '{json_file}' does not exist: check the path of the dataset"
        )
    status = os.stat(PathManager.get_local_path(json_file))
    asked = frozenset(ANNOTATION_COLUMNS), frozenset(IMAGE_COLUMNS), skeleton, reads_on()
    stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size, *asked)
    cached = _cache.get(json_file)
    if cached is None or cached[0] != stamp:
        cached = (stamp, _compact(_parse(json_file), json_file, skeleton))
        _cache[json_file] = cached
    return cached[1]


def _parse(source: str) -> dict:
    # Polygons are most of such a file: dropped while parsing unless a field asks for them.
    hook = None if "segmentation" in ANNOTATION_COLUMNS else _without_polygons
    try:
        text = read_text(source)
        content = json.loads(text, object_hook=hook)
    except TextFileError as error:
        raise DatasetError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"'{source}' is no valid JSON ({error}): {_cause(text, error)}"
        ) from error
    if not isinstance(content, dict) or "images" not in content:
        inside = list(content)[:5] if isinstance(content, dict) else type(content).__name__
        raise DatasetError(
            f"'{source}' has no key 'images' (it holds {inside}): it is no COCO annotation file (a "
            "detection result file is no dataset)"
        )
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


def _compact(content: dict, source: str, skeleton: Skeleton | None) -> CocoFile:
    lists = [value for value in content.values() if isinstance(value, list)]
    return without_refused(partial(_checked, content, source, skeleton), *lists)


def _checked(content: dict, source: str, skeleton: Skeleton | None) -> CocoFile:
    images = Table.of(content, "images", source)
    if not images.records:
        raise DatasetError(f"'{source}': 'images' is empty; a dataset needs at least one image")
    image_ids = images.ids()
    order = np.argsort(image_ids, kind="stable")
    images, image_ids = images.rows(order), image_ids[order]
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
    table = Table.of(content, "categories", source)
    categories = class_names(table)
    annotations = Table.of(content, "annotations", source)
    annotations, owners = _with_images(annotations, image_ids, file_names)
    category_ids = annotations.whole_numbers("category_id")
    annotations.refuse(
        ~np.isin(category_ids, np.asarray(list(categories), dtype=np.int64)),
        "category_id",
        f"'categories' defines {list(categories)[:20]}. Add the categories or correct the ids",
    )
    rows = np.searchsorted(image_ids, owners)
    boxes = annotations.boxes()
    report = check_boxes(boxes, sizes[rows], source=source, describe=annotations.describe)
    for message in report.messages:
        logger.warning(message)
    kept = np.flatnonzero(report.keep)
    annotations = annotations.rows(kept)
    boxes, rows, category_ids = boxes[kept], rows[kept], category_ids[kept]
    pose = {}
    records = (*table.records, *annotations.records)
    if skeleton is not None or any(record.get("keypoints") for record in records):
        from .coco_joints import read_pose  # executed for poses alone

        pose = read_pose(
            table, annotations, boxes=boxes, image_sizes=sizes[rows], skeleton=skeleton
        )
    ignored = annotations.flags("ignore")
    annotations.warn(
        ignored,
        "have 'ignore' 1",
        "They are not learned, and in the scores they are neither to be found nor is a detection "
        "there false, as in a crowd region",
    )
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
        areas=areas(annotations, boxes),
        crowd=annotations.flags("iscrowd"),
        ignored=ignored,
        image_columns=kept_columns(images.records, IMAGE_COLUMNS),
        annotation_columns=kept_columns(annotations.records, ANNOTATION_COLUMNS),
        **pose,
    )


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
    number_annotations(annotations)
    files = dict(zip(image_ids.tolist(), names, strict=True))
    return replace(annotations, files=files), owners[known]
