"""A COCO JSON, parsed once into compact arrays.

`detectron2.data.datasets.load_coco_json` knows the classes only after it has built every record,
keeps all polygons and trusts the boxes. Here the file is parsed once per process, without the
polygons, and every surprise is named.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.utils.file_io import PathManager

from ...structures.skeleton import Skeleton
from ..checks import DatasetError, check_unique
from .coco_joints import read_joints, read_skeleton
from .columns import ANNOTATION_COLUMNS, IMAGE_COLUMNS, kept_columns

logger = logging.getLogger(__name__)

_cache: dict[str, tuple[tuple, CocoFile]] = {}


@dataclass(frozen=True)
class CocoFile:
    """What detection and pose need of a COCO JSON, by image id; M images, N annotations."""

    path: str
    categories: dict[int, str]  # id -> name, sorted by id
    image_ids: list[int]  # M
    file_names: list[str]  # M
    image_sizes: np.ndarray  # (M, 2) int64: width, height
    annotation_images: np.ndarray  # (N,) int64: row of the image
    annotation_ids: np.ndarray  # (N,) int64
    boxes: np.ndarray  # (N, 4) float64: x, y, width, height
    category_ids: np.ndarray  # (N,) int64
    crowd: np.ndarray  # (N,) bool
    skeleton: Skeleton | None = None  # of the categories that have joints
    pose_categories: tuple[int, ...] = ()  # their ids
    joints: np.ndarray | None = None  # (N, J, 3) float64: x, y as pixel indices, visibility
    image_columns: Sequence[dict] = ()  # M, see `columns.py`
    annotation_columns: Sequence[dict] = ()  # N

    def contiguous_ids(self) -> dict[int, int]:
        """Category id -> class index, in the order of the ids, as detectron2 maps them."""
        return {category: index for index, category in enumerate(self.categories)}

    def describe(self, row: int) -> str:
        """Name annotation `row` and its image for a message."""
        image = self.annotation_images[row]
        return (
            f"annotation id {self.annotation_ids[row]} of image id {self.image_ids[image]} "
            f"('{self.file_names[image]}')"
        )


def read_coco_json(json_file: str) -> CocoFile:
    """Parse a COCO instances (or image_info) JSON, once per process while the file is unchanged.

    It is parsed again where further columns are asked for since (see `columns.py`).

    Raises:
        FileNotFoundError: there is no such file.
        DatasetError: it is no COCO JSON, holds no images or categories, or repeats ids; the message
            names the key.
    """
    if not PathManager.isfile(json_file):
        raise FileNotFoundError(
            f"annotation file '{json_file}' does not exist: check the path of the dataset"
        )
    local = PathManager.get_local_path(json_file)
    status = os.stat(local)
    asked = frozenset(ANNOTATION_COLUMNS), frozenset(IMAGE_COLUMNS)
    stamp = (status.st_mtime, status.st_size, *asked)
    cached = _cache.get(json_file)
    if cached is None or cached[0] != stamp:
        cached = (stamp, _compact(_parse(local, json_file), json_file))
        _cache[json_file] = cached
    return cached[1]


def _parse(path: str, source: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            # Polygons are most of such a file: dropped while parsing unless a field asks for them.
            hook = None if "segmentation" in ANNOTATION_COLUMNS else _without_polygons
            content = json.load(file, object_hook=hook)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"'{source}' is no valid JSON ({error}): it is truncated or another kind of file; copy "
            "it again"
        ) from error
    if not isinstance(content, dict) or "images" not in content:
        raise DatasetError(
            f"'{source}' has no key 'images': it is no COCO annotation file (a detection result "
            "file is no dataset)"
        )
    return content


def _without_polygons(node: dict) -> dict:
    node.pop("segmentation", None)
    return node


def _compact(content: dict, source: str) -> CocoFile:
    images = content["images"]
    if not images:
        raise DatasetError(f"'{source}': 'images' is empty; a dataset needs at least one image")
    image_ids = _integers(images, "id", "images", source)
    check_unique(image_ids, key="images", source=source)
    order = np.argsort(image_ids, kind="stable")
    sizes = [_integers(images, key, "images", source) for key in ("width", "height")]
    _check_sizes(np.stack(sizes, axis=1), images, source)
    annotations = _known_images(content.get("annotations", []), image_ids, source)
    owners = _integers(annotations, "image_id", "annotations", source)
    identifiers = _integers(annotations, "id", "annotations", source)
    check_unique(identifiers, key="annotations", source=source)
    names = _column(images, "file_name", "images", source)
    sizes_by_id = np.stack(sizes, axis=1)[order]
    rows = np.searchsorted(image_ids[order], owners)
    boxes = _boxes(annotations, source)
    category_ids = _integers(annotations, "category_id", "annotations", source)
    categories = _categories(content, source)
    skeleton, having = read_skeleton(content["categories"], source)
    return CocoFile(
        path=source,
        categories=categories,
        image_ids=image_ids[order].tolist(),
        file_names=[names[k] for k in order],
        image_sizes=sizes_by_id,
        annotation_images=rows,
        annotation_ids=identifiers,
        boxes=boxes,
        category_ids=category_ids,
        crowd=np.array([bool(record.get("iscrowd", 0)) for record in annotations], dtype=bool),
        skeleton=skeleton,
        pose_categories=tuple(having),
        image_columns=kept_columns([images[k] for k in order], IMAGE_COLUMNS),
        annotation_columns=kept_columns(annotations, ANNOTATION_COLUMNS),
        joints=read_joints(
            annotations,
            skeleton,
            having,
            names=categories,
            boxes=boxes,
            image_sizes=sizes_by_id[rows],
            source=source,
        ),
    )


def _column(records: list[dict], key: str, group: str, source: str) -> list:
    try:
        return [record[key] for record in records]
    except KeyError:
        index = next(k for k, record in enumerate(records) if key not in record)
        shown = {name: records[index][name] for name in list(records[index])[:4]}
        raise DatasetError(
            f"'{source}': record {index} of '{group}' has no '{key}' ({shown}): add it, COCO's "
            "format requires it"
        ) from None


def _integers(records: list[dict], key: str, group: str, source: str) -> np.ndarray:
    values = _column(records, key, group, source)
    wrong = next((value for value in values if not _is_whole(value)), None)
    if wrong is not None or any(value is None for value in values):
        raise DatasetError(
            f"'{source}': '{key}' of '{group}' must be whole numbers, one is {wrong!r}: "
            "number the records and write the numbers without quotes"
        )
    return np.array(values, dtype=np.int64)


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, float)) and value == value // 1


def _is_box(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(number, (int, float)) for number in value)
    )


def _check_sizes(sizes: np.ndarray, images: list[dict], source: str) -> None:
    empty = (sizes <= 0).any(axis=1)
    if empty.any():
        first = images[int(np.flatnonzero(empty)[0])]
        raise DatasetError(
            f"'{source}': {empty.sum()} images have no pixels, such as image id {first['id']} "
            f"('{first.get('file_name')}') of width {first['width']} and height "
            f"{first['height']}: correct 'width' and 'height' or remove the images"
        )


def _categories(content: dict, source: str) -> dict[int, str]:
    records = content.get("categories", [])
    if not records:
        raise DatasetError(
            f"'{source}': 'categories' is missing or empty; add one {{'id': ..., 'name': ...}} per "
            "class"
        )
    identifiers = _integers(records, "id", "categories", source)
    names = _column(records, "name", "categories", source)
    check_unique(identifiers, key="categories", source=source)
    return dict(sorted(zip(identifiers.tolist(), names, strict=True)))


def _boxes(annotations: list[dict], source: str) -> np.ndarray:
    boxes = _column(annotations, "bbox", "annotations", source)
    wrong = next((k for k, box in enumerate(boxes) if not _is_box(box)), None)
    if wrong is not None:
        record = annotations[wrong]
        raise DatasetError(
            f"'{source}': annotation id {record.get('id')} of image id {record['image_id']} has "
            f"'bbox' {boxes[wrong]}; it must be four numbers [x, y, width, height]"
        )
    # None stands for NaN in files written by strict encoders.
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def _known_images(annotations: list[dict], image_ids: np.ndarray, source: str) -> list[dict]:
    """Leave out annotations of images that the file does not list; a warning counts them."""
    owners = _integers(annotations, "image_id", "annotations", source)
    known = np.isin(owners, image_ids)
    if known.all():
        return annotations
    strange = np.unique(owners[~known])
    logger.warning(
        "%s: ignored %d of %d annotations whose 'image_id' is not in 'images' (such as %s); the "
        "file is a part of a larger one, or its ids do not match",
        source,
        int((~known).sum()),
        len(owners),
        strange[:5].tolist(),
    )
    return [record for record, is_known in zip(annotations, known, strict=True) if is_known]
