"""Columns of annotation files that records keep because a ground-truth field reads them.

Values are kept as the file has them: what lies in pixels is not shifted or scaled. A column that a
file lacks is missing from its records as well; the field that needs it says so. What every record
holds (boxes, categories, joints, sizes) is never read a second time.
"""

from __future__ import annotations

ANNOTATION_COLUMNS: set[str] = set()
IMAGE_COLUMNS: set[str] = set()

_READ_ALWAYS = {
    *("id", "image_id", "category_id", "bbox", "bbox_mode", "iscrowd", "keypoints"),
    *("file_name", "height", "width", "annotations"),
}


def keep_annotation_columns(*names: str) -> None:
    """Keep these keys of annotations ("visible_share"), in what is loaded from now on."""
    ANNOTATION_COLUMNS.update(set(names) - _READ_ALWAYS)


def keep_image_columns(*names: str) -> None:
    """Keep these keys of images ("projection"), in what is loaded from now on."""
    IMAGE_COLUMNS.update(set(names) - _READ_ALWAYS)


def kept_columns(records: list[dict], names: set[str]) -> list[dict]:
    """Return, for each record of a file, those of its columns that are asked for."""
    return [{name: record[name] for name in names if name in record} for record in records]
