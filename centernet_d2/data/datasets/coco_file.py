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
from typing import TYPE_CHECKING

import numpy as np
from detectron2.utils.file_io import PathManager

from ..checks import DatasetError
from .columns import ANNOTATION_COLUMNS, IMAGE_COLUMNS, kept_columns

if TYPE_CHECKING:
    from ...structures.skeleton import Skeleton

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


@dataclass(frozen=True)
class _Table:
    """One list of records of a file: images, annotations or categories."""

    name: str
    records: list[dict]
    source: str

    def column(self, key: str) -> list:
        """Return what each record has under `key`; DatasetError where one lacks it."""
        try:
            return [record[key] for record in self.records]
        except KeyError:
            index = next(k for k, record in enumerate(self.records) if key not in record)
            shown = {name: self.records[index][name] for name in list(self.records[index])[:4]}
            raise DatasetError(
                f"'{self.source}': record {index} of '{self.name}' has no '{key}' ({shown}): add "
                "it, COCO's format requires it"
            ) from None

    def integers(self, key: str) -> np.ndarray:
        """Return a column as int64; DatasetError where a value is no whole number."""
        values = self.column(key)
        for value in values:
            if not (isinstance(value, (int, float)) and value == value // 1):
                raise DatasetError(
                    f"'{self.source}': '{key}' of '{self.name}' must be whole numbers, one is "
                    f"{value!r}: number the records and write the numbers without quotes"
                )
        return np.array(values, dtype=np.int64)

    def ids(self) -> np.ndarray:
        """Return the column "id", each only once."""
        identifiers = self.integers("id")
        values, counts = np.unique(identifiers, return_counts=True)
        if len(twice := values[counts > 1]):
            raise DatasetError(
                f"{self.source}: {len(twice)} ids occur more than once in '{self.name}': "
                f"{twice[:5].tolist()}. Give each record of '{self.name}' its own 'id'"
            )
        return identifiers


def _compact(content: dict, source: str) -> CocoFile:
    images = _Table("images", content["images"], source)
    if not images.records:
        raise DatasetError(f"'{source}': 'images' is empty; a dataset needs at least one image")
    image_ids = images.ids()
    order = np.argsort(image_ids, kind="stable")
    sizes = np.stack([images.integers(key) for key in ("width", "height")], axis=1)
    _check_sizes(sizes, images)
    names = images.column("file_name")
    records = _known_images(
        _Table("annotations", content.get("annotations", []), source), image_ids
    )
    annotations = _Table("annotations", records, source)
    rows = np.searchsorted(image_ids[order], annotations.integers("image_id"))
    boxes = _boxes(annotations)
    table = _Table("categories", content.get("categories", []), source)
    if not table.records:
        raise DatasetError(
            f"'{source}': 'categories' is missing or empty; add one {{'id': ..., 'name': ...}} per "
            "class"
        )
    categories = dict(sorted(zip(table.ids().tolist(), table.column("name"), strict=True)))
    pose = {}
    if any(record.get("keypoints") for record in (*table.records, *records)):
        from .coco_joints import read_pose  # executed for poses alone

        places = {"boxes": boxes, "image_sizes": sizes[order][rows]}
        pose = read_pose(table.records, records, source=source, **places)
    return CocoFile(
        path=source,
        categories=categories,
        image_ids=image_ids[order].tolist(),
        file_names=[names[k] for k in order],
        image_sizes=sizes[order],
        annotation_images=rows,
        annotation_ids=annotations.ids(),
        boxes=boxes,
        category_ids=annotations.integers("category_id"),
        crowd=np.array([bool(record.get("iscrowd", 0)) for record in records], dtype=bool),
        image_columns=kept_columns([images.records[k] for k in order], IMAGE_COLUMNS),
        annotation_columns=kept_columns(records, ANNOTATION_COLUMNS),
        **pose,
    )


def _check_sizes(sizes: np.ndarray, images: _Table) -> None:
    empty = (sizes <= 0).any(axis=1)
    if empty.any():
        first = images.records[int(np.flatnonzero(empty)[0])]
        raise DatasetError(
            f"'{images.source}': {empty.sum()} images have no pixels, such as image id "
            f"{first['id']} ('{first.get('file_name')}') of width {first['width']} and height "
            f"{first['height']}: correct 'width' and 'height' or remove the images"
        )


def _boxes(annotations: _Table) -> np.ndarray:
    boxes = annotations.column("bbox")
    for box, record in zip(boxes, annotations.records, strict=True):
        is_list = isinstance(box, list) and len(box) == 4
        if not is_list or not all(isinstance(number, (int, float)) for number in box):
            raise DatasetError(
                f"'{annotations.source}': annotation id {record.get('id')} of image id "
                f"{record['image_id']} has 'bbox' {box}; it must be four numbers [x, y, width, "
                "height]"
            )
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def _known_images(annotations: _Table, image_ids: np.ndarray) -> list[dict]:
    """Leave out annotations of images that the file does not list; a warning counts them."""
    owners = annotations.integers("image_id")
    known = np.isin(owners, image_ids)
    if known.all():
        return annotations.records
    logger.warning(
        "%s: ignored %d of %d annotations whose 'image_id' is not in 'images' (such as %s); the "
        "file is a part of a larger one, or its ids do not match",
        *(annotations.source, int((~known).sum()), len(owners)),
        np.unique(owners[~known])[:5].tolist(),
    )
    return [record for record, is_known in zip(annotations.records, known, strict=True) if is_known]
