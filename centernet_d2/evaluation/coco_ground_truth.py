"""The ground truth of a registered dataset as one COCO dictionary that scores correctly."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager

from ..data.datasets.coco_file import CocoFile, is_label_spec, read_coco_json
from .ground_truth import annotations_by_class, read_records

if TYPE_CHECKING:
    from ..structures.skeleton import Skeleton


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
    """Take the checked form of the JSON that the metadata names, else the dataset's records.

    Both are what a training on the dataset gets: boxes that it drops are not to be found either,
    and `ignored` objects count as crowd regions. FileNotFoundError or ValueError name what is wrong
    with the JSON, or where the metadata contradicts it.
    """
    metadata = MetadataCatalog.get(dataset_name)
    skeleton, pose_ids, content = None, (), None
    if with_joints:
        from .coco_joints import complete_joints, skeleton_of

        skeleton = skeleton_of(metadata, dataset_name)
    selection = metadata.get("selection")  # of another dataset, whose records are chosen from
    json_file = metadata.get("json_file")
    contiguous = metadata.get("thing_dataset_id_to_contiguous_id")
    contiguous = contiguous if json_file or selection else None
    if json_file and not selection:
        content = _read_json(dataset_name, json_file, skeleton)
        dataset, is_labelled = _from_file(content), content.is_labelled
    else:
        ids = sorted(contiguous, key=contiguous.get) if contiguous else ()
        dataset, is_labelled = _from_records(
            dataset_name, with_joints=with_joints, ids=ids, with_areas=bool(selection)
        )
        if json_file:  # of which records are chosen: they are as labelled as it is
            is_labelled &= read_coco_json(json_file).is_labelled
    names = {category["id"]: category["name"] for category in dataset["categories"]}
    category_ids = tuple(sorted(contiguous, key=contiguous.get) if contiguous else sorted(names))
    unknown = sorted(set(category_ids) - set(names))
    if unknown:
        raise ValueError(
            f"Dataset '{dataset_name}': its metadata has category ids {unknown[:10]} that "
            f"{json_file} does not have. The JSON and the registered class list belong to "
            "different datasets; register it anew."
        )
    class_names = _class_names(metadata, [names[i] for i in category_ids])
    if skeleton is not None:
        pose_ids = content.pose_categories if content else ()
        pose_ids = complete_joints(dataset, skeleton, dataset_name, pose_ids)
    return CocoGroundTruth(dataset, is_labelled, category_ids, class_names, skeleton, pose_ids)


def _class_names(metadata: Metadata, in_file: Sequence[str]) -> tuple[str, ...]:
    """The names in the metadata, which may be others than the file's, else those `in_file`."""
    named = tuple(metadata.get("thing_classes") or in_file)
    if len(set(named)) < len(named) == len(in_file):  # the file's are told apart
        return tuple(in_file)
    if len(named) != len(in_file) or (sorted(named) == sorted(in_file) and named != tuple(in_file)):
        raise ValueError(
            f"Dataset '{metadata.name}': thing_classes of its metadata is {list(named)}, the "
            f"categories of its annotations are {list(in_file)}: scores would stand beside wrong "
            "names. Give as many, in the order of the categories' ids"
        )
    return named


def only_categories(dataset: dict, ids: Collection[int]) -> dict:
    """A COCO dictionary of these categories alone; images stay."""
    return {
        **dataset,
        "categories": [c for c in dataset["categories"] if c["id"] in ids],
        "annotations": [a for a in dataset["annotations"] if a["category_id"] in ids],
    }


def out_of_reach(dataset: dict, limit: int, *keys: str) -> tuple[int, int, int]:
    """How many objects are too many where `limit` detections count, of how many, the most together.

    `keys` are those of an annotation by which detections are counted: "image_id", "category_id".
    Crowd regions, and objects without labelled joints where these are counted, are not to be found.
    """
    counts = Counter(
        tuple(annotation[key] for key in keys)
        for annotation in dataset["annotations"]
        if not annotation["iscrowd"] and annotation.get("num_keypoints", 1)
    )
    beyond = sum(max(0, count - limit) for count in counts.values())
    return beyond, counts.total(), max(counts.values(), default=0)


def _read_json(dataset_name: str, json_file: str, skeleton: Skeleton | None) -> CocoFile:
    is_here = is_label_spec(json_file) or PathManager.isfile(json_file)
    if not is_here:  # a generated dataset is made when it is asked for
        with contextlib.suppress(OSError):
            DatasetCatalog.get(dataset_name)
    if not is_here and not PathManager.isfile(json_file):
        raise FileNotFoundError(
            f"The annotations of dataset '{dataset_name}' are not at {json_file}. Put the file "
            "there, set DETECTRON2_DATASETS to the folder of the datasets (see docs/datasets.md of "
            "the repository), or give your own files in DATASETS.TEST as 'coco:<json>:<image dir>'."
        )
    content = read_coco_json(json_file)
    content.check_registered(MetadataCatalog.get(dataset_name))
    if skeleton is not None and content.skeleton is None:  # the metadata alone names the joints
        content = read_coco_json(json_file, skeleton=skeleton)
    return content


def _from_file(content: CocoFile) -> dict:
    """The COCO dictionary of a file; annotations are numbered anew.

    COCO's scoring takes id 0 for "no match", and keeps one annotation per id.
    """
    columns = {
        "image_id": np.array(content.image_ids)[content.annotation_images],
        "category_id": content.category_ids,
        "bbox": content.boxes,
        "area": content.areas,
        "iscrowd": (content.crowd | content.ignored).astype(int),
    }
    if content.joints is not None:
        count, joints, _ = content.joints.shape
        columns["keypoints"] = content.joints.reshape(count, 3 * joints)
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    keys = ("id", *columns)
    return {
        "images": [{"id": identifier} for identifier in content.image_ids],
        "categories": [{"id": i, "name": name} for i, name in content.categories.items()],
        "annotations": [
            dict(zip(keys, (number, *row), strict=True)) for number, row in enumerate(rows, start=1)
        ],
    }


def _from_records(
    dataset_name: str, *, with_joints: bool, ids: Sequence[int], with_areas: bool
) -> tuple[dict, bool]:
    """The COCO dictionary of a dataset's records, and whether they have annotations.

    `ids` are those of the categories, where they have ids of their own.
    """
    records, class_names = read_records(dataset_name)
    ids = ids or range(len(class_names))
    annotations = []
    for record in records if records.labelled else ():
        for annotation in annotations_by_class(record, len(class_names)):
            box = [float(value) for value in annotation["bbox"]]
            box = list(BoxMode.convert(box, annotation["bbox_mode"], BoxMode.XYWH_ABS))
            entry = {"image_id": record["image_id"], "category_id": ids[annotation["category_id"]]}
            area = annotation.get("area") if with_areas else None  # others' are not checked
            entry |= {"bbox": box, "area": box[2] * box[3] if area is None else area}
            entry["iscrowd"] = int(bool(annotation.get("iscrowd")))
            if with_joints and "keypoints" in annotation:
                from .coco_joints import without_half_pixel

                entry["keypoints"] = without_half_pixel(annotation["keypoints"]).ravel().tolist()
            annotations.append(entry)
    dataset = {
        "images": [{"id": record["image_id"]} for record in records],
        "categories": [{"id": i, "name": n} for i, n in zip(ids, class_names, strict=True)],
        "annotations": [{"id": k, **entry} for k, entry in enumerate(annotations, start=1)],
    }
    return dataset, records.labelled
