"""Standard detectron2 records of a COCO JSON, checked."""

import os
import re
from collections.abc import Iterator
from functools import partial
from os.path import join

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager

from ..checks.findings import refuse
from .coco_file import CocoFile, read_coco_json
from .from_files import FileDataset, split_paths


def read_form(spec: str) -> FileDataset:
    """Read `coco:<json>:<image dir>`; see `from_files.register_dataset_form`."""
    json_file, image_root = split_paths(spec, kind="JSON")
    stem = os.path.splitext(os.path.basename(json_file))[0]
    return coco_dataset(stem, (json_file, image_root), json_file, image_root)


def coco_dataset(stem: str, parts: tuple[str, ...], source: str, root: str = "") -> FileDataset:
    """A dataset of a `source` that `read_coco_json` takes; `stem` and `parts` as in `FileDataset`.

    `root` is where relative names of its images lie.
    """

    def register(name: str) -> None:
        content = read_coco_json(source)
        DatasetCatalog.register(name, partial(load_coco_records, source, root, name=name))
        MetadataCatalog.get(name).set(
            json_file=source, image_root=root, evaluator_type="coco", **content.metadata()
        )

    return FileDataset(stem, parts, register)


def load_coco_records(
    json_file: str, image_root: str, *, name: str = "", needs_images: bool = True
) -> list[dict]:
    """Return detectron2's standard records of a COCO JSON, one per image, sorted by image id.

    Keys: file_name, height, width, image_id, annotations (bbox, bbox_mode XYWH_ABS, area,
    category_id contiguous, iscrowd, id; `ignored` 1 where the file has 'ignore'; keypoints where
    the category has joints), and the columns that were asked for (see `columns.py`). Images without
    annotations are kept. Useless boxes are dropped with a counted warning.

    `keypoints` are 3 J numbers as detectron2's loader gives them: x and y of the file plus 0.5, so
    that a joint on the middle of the first pixel, (0, 0) in the file, is (0.5, 0.5).

    Errors are those of `read_coco_json`; also where the file is no longer that which dataset `name`
    was registered from, or (`needs_images`) the first image is not in `image_root`.
    """
    content = read_coco_json(json_file)
    if name:
        content.check_registered(MetadataCatalog.get(name))
    first = join(image_root, content.file_names[0])
    if needs_images and not PathManager.isfile(first):
        base = re.split(r"[\\/]", content.file_names[0])[-1]
        is_there = base != content.file_names[0] and PathManager.isfile(join(image_root, base))
        refuse(
            FileNotFoundError(
                f"image file '{first}', the first of '{json_file}', does not exist: check the "
                f"image folder '{image_root}' (it and 'file_name' of the JSON are joined)"
                + (f"; '{base}' is there: write 'file_name' without folders" if is_there else "")
            )
        )
    sizes = ({"width": width, "height": height} for width, height in content.image_sizes.tolist())
    images = zip(content.image_columns, content.file_names, content.image_ids, sizes, strict=True)
    records: list[dict] = [
        {**columns, "file_name": join(image_root, name), **size, "image_id": i, "annotations": []}
        for columns, name, i, size in images
    ]
    for image, annotation in _annotations(content):
        records[image]["annotations"].append(annotation)
    return records


def _annotations(content: CocoFile) -> Iterator[tuple[int, dict]]:
    """Yield the row of the image and the annotation of each."""
    contiguous = content.contiguous_ids()
    joints = None
    if content.joints is not None:
        from ...structures.skeleton import HALF_PIXEL  # executed for poses alone

        joints = content.joints + np.array([HALF_PIXEL, HALF_PIXEL, 0])
        joints = joints.reshape(len(joints), 3 * joints.shape[1]).tolist()
    columns = (content.boxes, content.category_ids, content.annotation_images)
    columns += (content.annotation_ids, content.crowd.astype(int), content.ignored.astype(int))
    columns += (content.areas,)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for row, (box, category, image, identifier, crowd, ignored, area) in enumerate(rows):
        annotation = {
            **content.annotation_columns[row],
            "id": identifier,
            "bbox": box,
            "bbox_mode": BoxMode.XYWH_ABS,
            "area": area,
            "category_id": contiguous[category],
            "iscrowd": crowd | ignored,  # by which detectron2 counts
        }
        if ignored:
            annotation["ignored"] = ignored
        if joints is not None and category in content.pose_categories:
            annotation["keypoints"] = joints[row]
        yield image, annotation
