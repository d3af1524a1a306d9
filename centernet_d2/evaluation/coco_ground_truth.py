"""The ground truth of a registered dataset as one COCO dictionary that scores correctly."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager

from .ground_truth import annotations_by_class, read_records

if TYPE_CHECKING:
    from ..structures.skeleton import Skeleton

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CocoGroundTruth:
    """What detections of one dataset are compared with."""

    dataset: dict  # COCO: "images", "categories", "annotations" (boxes XYWH in original pixels)
    is_labelled: bool  # False: a split without annotations, such as COCO test-dev
    category_ids: tuple[int, ...]  # the dataset's category id of each contiguous class
    class_names: tuple[str, ...]  # of each contiguous class
    skeleton: Skeleton | None = None  # the joints that are scored
    pose_category_ids: tuple[int, ...] = ()  # of the categories that have them


def load_ground_truth(dataset_name: str, *, with_joints: bool = False) -> CocoGroundTruth:
    """Read the JSON named in the dataset's metadata; without one, convert its dataset dicts.

    Raises:
        FileNotFoundError: the JSON is not there.
        ValueError: the JSON is broken or no COCO file, its categories are not those of the
            metadata, or joints are to be scored that the metadata does not name.
    """
    metadata = MetadataCatalog.get(dataset_name)
    json_file = metadata.get("json_file")
    if json_file is None:
        dataset = _from_dataset_dicts(dataset_name, with_joints=with_joints)
    else:
        dataset = _read_json(dataset_name, json_file)
    is_labelled = "annotations" in dataset
    dataset.setdefault("annotations", [])
    _complete(dataset_name, dataset["annotations"])

    names = {category["id"]: category["name"] for category in dataset["categories"]}
    contiguous = metadata.get("thing_dataset_id_to_contiguous_id") if json_file else None
    category_ids = tuple(sorted(contiguous, key=contiguous.get) if contiguous else sorted(names))
    unknown = sorted(set(category_ids) - set(names))
    if unknown:
        raise ValueError(
            f"Dataset '{dataset_name}': its metadata has category ids {unknown[:10]} that "
            f"{json_file} does not have. The JSON and the registered class list belong to "
            "different datasets; register it anew."
        )
    class_names = tuple(metadata.get("thing_classes") or (names[i] for i in category_ids))
    skeleton, pose_ids = None, ()
    if with_joints:
        from .coco_joints import complete_joints, skeleton_of

        skeleton = skeleton_of(metadata, dataset_name)
        pose_ids = complete_joints(dataset, skeleton, dataset_name)
    return CocoGroundTruth(dataset, is_labelled, category_ids, class_names, skeleton, pose_ids)


def only_categories(dataset: dict, ids: Collection[int]) -> dict:
    """A COCO dictionary of these categories alone; images stay."""
    return {
        **dataset,
        "categories": [c for c in dataset["categories"] if c["id"] in ids],
        "annotations": [a for a in dataset["annotations"] if a["category_id"] in ids],
    }


def _read_json(dataset_name: str, json_file: str) -> dict:
    path = PathManager.get_local_path(json_file)
    if not os.path.isfile(path):  # a generated dataset is made when its records are asked for
        with contextlib.suppress(OSError):
            DatasetCatalog.get(dataset_name)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"The annotations of dataset '{dataset_name}' are not at {json_file}. Put the file "
            "there, set DETECTRON2_DATASETS to the folder of the datasets (docs/datasets.md), or "
            "give your own files in DATASETS.TEST as 'coco:<json>:<image dir>'."
        )
    try:
        with open(path, encoding="utf-8") as file:
            dataset = json.load(file)
    except ValueError as error:
        raise ValueError(f"{json_file} is not readable as JSON ({error}). Copy it anew.") from error
    keys = dataset if isinstance(dataset, dict) else ()
    if missing := [key for key in ("images", "categories") if key not in keys]:
        raise ValueError(
            f"{json_file} (dataset '{dataset_name}') is no COCO annotation file: it lacks "
            f"{missing}."
        )
    return dataset


def _from_dataset_dicts(dataset_name: str, *, with_joints: bool) -> dict:
    records, class_names = read_records(dataset_name)
    dataset = {
        "images": [{"id": record["image_id"]} for record in records],
        "categories": [{"id": i, "name": name} for i, name in enumerate(class_names)],
    }
    if records.labelled:
        dataset["annotations"] = [
            {"image_id": record["image_id"], **_annotation(annotation, with_joints=with_joints)}
            for record in records
            for annotation in annotations_by_class(record, len(class_names))
        ]
    return dataset


def _annotation(annotation: dict, *, with_joints: bool) -> dict:
    """COCO's entry of a detectron2 annotation."""
    box = [float(value) for value in annotation["bbox"]]
    entry = {
        "category_id": annotation["category_id"],
        "bbox": list(BoxMode.convert(box, annotation["bbox_mode"], BoxMode.XYWH_ABS)),
        "iscrowd": int(annotation.get("iscrowd") or 0),
    }
    if with_joints:
        from .coco_joints import joints_of_annotation

        entry |= joints_of_annotation(annotation)
    return entry


def _complete(dataset_name: str, annotations: list[dict]) -> None:
    """Fill in place what COCO's scoring reads and home-made files often lack.

    Ids are numbered anew where they are missing, repeated or 0: COCO's scoring takes id 0 for "no
    match" and keeps one annotation per id, so that such files are scored wrongly without a word.
    """
    without_area = [a for a in annotations if a.get("area") is None]
    for annotation in without_area:
        annotation["area"] = float(annotation["bbox"][2]) * float(annotation["bbox"][3])
    for annotation in annotations:
        annotation.setdefault("iscrowd", 0)
    ids = {annotation.get("id") for annotation in annotations}
    renumber = len(ids) < len(annotations) or None in ids or 0 in ids
    if renumber:
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number
    if renumber or without_area:
        more = "; ids were missing, repeated or 0 and are numbered anew" if renumber else ""
        message = "Dataset '%s': %d annotations had no area (width x height is used)%s."
        logger.info(message, dataset_name, len(without_area), more)
