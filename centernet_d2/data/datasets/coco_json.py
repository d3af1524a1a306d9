"""Standard detectron2 records of a COCO JSON, checked."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager

from ..checks import DatasetError, check_boxes, examples
from .coco_file import CocoFile, read_coco_json
from .from_files import FileDataset, split_paths

logger = logging.getLogger(__name__)


def read_form(spec: str) -> FileDataset:
    """Read `coco:<json>:<image dir>`; see `from_files.register_dataset_form`."""
    json_file, image_root = split_paths(spec, kind="JSON")

    def register(name: str) -> None:
        content = read_coco_json(json_file)
        joints = {}
        if content.skeleton is not None:
            classes = [content.categories[identifier] for identifier in content.pose_categories]
            joints = {**content.skeleton.metadata(), "keypoint_classes": classes}
        DatasetCatalog.register(name, lambda: load_coco_records(json_file, image_root))
        MetadataCatalog.get(name).set(
            thing_classes=list(content.categories.values()),
            thing_dataset_id_to_contiguous_id=content.contiguous_ids(),
            json_file=json_file,
            image_root=image_root,
            evaluator_type="coco",
            **joints,
        )

    stem = os.path.splitext(os.path.basename(json_file))[0]
    return FileDataset(stem, (json_file, image_root), register)


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
    used, known = content.category_ids, list(content.categories)
    unknown = ~np.isin(used, np.asarray(known, dtype=np.int64))
    if unknown.any():
        raise DatasetError(
            f"{json_file}: {unknown.sum()} annotations have a 'category_id' that 'categories' does "
            f"not define: ids {np.unique(used[unknown])[:10].tolist()}, defined are {known[:20]}: "
            f"{examples(unknown, content.describe)}. Add the categories or correct the ids"
        )
    sizes = content.image_sizes[content.annotation_images]
    report = check_boxes(content.boxes, sizes, source=json_file, describe=content.describe)
    for message in report.messages:
        logger.warning(message)
    first = os.path.join(image_root, content.file_names[0])
    if not PathManager.isfile(first):
        raise FileNotFoundError(
            f"image file '{first}', the first of '{json_file}', does not exist: check the image "
            f"folder '{image_root}' (it and 'file_name' of the JSON are joined)"
        )
    records: list[dict] = []
    for row, columns in enumerate(content.image_columns):
        width, height = content.image_sizes[row].tolist()
        file_name = os.path.join(image_root, content.file_names[row])
        standard = {"file_name": file_name, "height": height, "width": width}
        identity = {"image_id": content.image_ids[row], "annotations": []}
        records.append({**columns, **standard, **identity})
    for image, annotation in _annotations(content, report.keep):
        records[image]["annotations"].append(annotation)
    logger.info(
        "%s: %d images (%d without annotations), %d boxes (%d crowd), %d classes",
        *(json_file, len(records), sum(not record["annotations"] for record in records)),
        *(int(report.keep.sum()), int((content.crowd & report.keep).sum())),
        len(content.categories),
    )
    return records


def _annotations(content: CocoFile, keep: np.ndarray) -> Iterator[tuple[int, dict]]:
    """Yield the row of the image and the annotation, of those to keep."""
    contiguous = content.contiguous_ids()
    joints = None
    if content.joints is not None:
        from ...structures.skeleton import HALF_PIXEL  # executed for poses alone

        shift = np.array([HALF_PIXEL, HALF_PIXEL, 0])
        joints = (content.joints + shift).reshape(len(keep), 3 * content.joints.shape[1]).tolist()
    boxes, categories = content.boxes.tolist(), content.category_ids.tolist()
    for row in np.flatnonzero(keep).tolist():
        annotation = {
            **content.annotation_columns[row],
            "id": int(content.annotation_ids[row]),
            "bbox": boxes[row],
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": contiguous[categories[row]],
            "iscrowd": int(content.crowd[row]),
        }
        if joints is not None and categories[row] in content.pose_categories:
            annotation["keypoints"] = joints[row]
        yield int(content.annotation_images[row]), annotation
