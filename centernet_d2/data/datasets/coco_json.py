"""Standard detectron2 records of a COCO JSON, checked."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager

from ...structures.skeleton import HALF_PIXEL
from ..checks import check_boxes, check_categories
from .coco_file import CocoFile, read_coco_json
from .from_files import FileDataset, split_paths

logger = logging.getLogger(__name__)


def read_form(spec: str) -> FileDataset:
    """Read `coco:<json>:<image dir>`; see `from_files.register_dataset_form`."""
    json_file, image_root = split_paths(spec, kind="JSON")

    def register(name: str) -> None:
        content = read_coco_json(json_file)
        DatasetCatalog.register(name, lambda: load_coco_records(json_file, image_root))
        MetadataCatalog.get(name).set(
            thing_classes=list(content.categories.values()),
            thing_dataset_id_to_contiguous_id=content.contiguous_ids(),
            json_file=json_file,
            image_root=image_root,
            evaluator_type="coco",
            **_joint_metadata(content),
        )

    stem = os.path.splitext(os.path.basename(json_file))[0]
    return FileDataset(stem, (json_file, image_root), register)


def _joint_metadata(content: CocoFile) -> dict:
    if content.skeleton is None:
        return {}
    classes = [content.categories[identifier] for identifier in content.pose_categories]
    return {**content.skeleton.metadata(), "keypoint_classes": classes}


def load_coco_records(json_file: str, image_root: str) -> list[dict]:
    """Return detectron2's standard records of a COCO JSON, one per image, sorted by image id.

    Keys: file_name, height, width, image_id, annotations (bbox, bbox_mode XYWH_ABS, category_id
    contiguous, iscrowd, id; keypoints where the category has joints), and the columns that were
    asked for (see `columns.py`). Images without annotations are kept. Useless boxes are dropped
    with a counted warning.

    `keypoints` are 3 J numbers as detectron2's loader gives them: x and y of the file plus 0.5, so
    that a joint on the middle of the first pixel, (0, 0) in the file, is (0.5, 0.5).

    Raises:
        DatasetError: see `centernet_d2.data.checks`; also when the first image is not in
            `image_root`.
    """
    content = read_coco_json(json_file)
    check_categories(
        content.category_ids,
        list(content.categories),
        source=json_file,
        describe=content.describe,
    )
    sizes = content.image_sizes[content.annotation_images]
    report = check_boxes(content.boxes, sizes, source=json_file, describe=content.describe)
    for message in report.messages:
        logger.warning(message)
    _check_image_root(content, image_root)
    records = [
        {
            **columns,
            "file_name": os.path.join(image_root, name),
            "height": height,
            "width": width,
            "image_id": image_id,
            "annotations": [],
        }
        for image_id, name, (width, height), columns in zip(
            content.image_ids,
            content.file_names,
            content.image_sizes.tolist(),
            content.image_columns,
            strict=True,
        )
    ]
    for image, annotation in _annotations(content, report.keep):
        records[image]["annotations"].append(annotation)
    without = sum(not record["annotations"] for record in records)
    logger.info(
        "%s: %d images (%d without annotations), %d boxes (%d crowd), %d classes",
        json_file,
        len(records),
        without,
        int(report.keep.sum()),
        int((content.crowd & report.keep).sum()),
        len(content.categories),
    )
    return records


def _annotations(content: CocoFile, keep: np.ndarray) -> Iterator[tuple[int, dict]]:
    contiguous = content.contiguous_ids()
    columns = (
        content.annotation_images[keep].tolist(),
        content.annotation_ids[keep].tolist(),
        content.boxes[keep].tolist(),
        content.category_ids[keep].tolist(),
        content.crowd[keep].tolist(),
        _joint_rows(content, keep),
        (content.annotation_columns[row] for row in np.flatnonzero(keep)),
    )
    for image, annotation_id, box, category, crowd, joints, further in zip(*columns, strict=True):
        annotation = {
            **further,
            "id": annotation_id,
            "bbox": box,
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": contiguous[category],
            "iscrowd": int(crowd),
        }
        if joints is not None and category in content.pose_categories:
            annotation["keypoints"] = joints
        yield image, annotation


def _joint_rows(content: CocoFile, keep: np.ndarray) -> list[list[float] | None]:
    if content.joints is None:
        return [None] * int(keep.sum())
    joints = content.joints[keep]
    joints[..., :2] += HALF_PIXEL
    return joints.reshape(len(joints), -1).tolist()


def _check_image_root(content: CocoFile, image_root: str) -> None:
    first = os.path.join(image_root, content.file_names[0])
    if not PathManager.isfile(first):
        raise FileNotFoundError(
            f"image file '{first}', the first of '{content.path}', does not exist: check the image "
            f"folder '{image_root}' (it and 'file_name' of the JSON are joined)"
        )
