"""The ground truth of a registered VOC dataset, from its records."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode

from .ground_truth import are_labelled, read_records
from .voc_scores import VocObjects

logger = logging.getLogger(__name__)

_TO_PIXELS = np.array([1.0, 1.0, 0.0, 0.0])  # edges -> the pixels that annotations count from 1


@dataclass(frozen=True)
class VocGroundTruth:
    """What detections of one dataset are compared with."""

    image_ids: list[str]
    class_names: list[str]
    objects: VocObjects | None  # in file coordinates; None: a split without annotations
    eleven_point: bool  # the split's own metric: VOC 2007's
    result_folder: str  # "results/VOC2007/Main": where the devkit and the server look
    split: str


def load_ground_truth(dataset_name: str) -> VocGroundTruth:
    """Read the records of a registered dataset.

    Raises:
        FileNotFoundError, DatasetError: see `centernet_d2.data.datasets.voc`.
        ValueError: the metadata has no class names, or only some records have annotations.
    """
    records, class_names = read_records(dataset_name)
    is_labelled = are_labelled(dataset_name, records)
    metadata = MetadataCatalog.get(dataset_name)
    folder = os.path.basename(os.path.normpath(metadata.get("dirname", "VOC")))
    return VocGroundTruth(
        image_ids=[record["image_id"] for record in records],
        class_names=class_names,
        objects=_objects(dataset_name, records) if is_labelled else None,
        eleven_point=metadata.get("year") == 2007,
        result_folder=os.path.join("results", folder, "Main"),
        split=metadata.get("split", "test"),
    )


def _objects(dataset_name: str, records: list[dict]) -> VocObjects:
    """All annotations of the records, in VOC's coordinates: pixels from 1, corners included."""
    annotations = [entry for record in records for entry in record["annotations"]]
    if annotations and not any("difficult" in entry for entry in annotations):
        logger.warning(
            "Dataset '%s' does not say which objects are difficult: all count. Register VOC "
            "folders by 'voc:<folder>:<split>' or register_voc_split.",
            dataset_name,
        )
    boxes = [
        BoxMode.convert(list(entry["bbox"]), entry["bbox_mode"], BoxMode.XYXY_ABS)
        for entry in annotations
    ]
    counts = [len(record["annotations"]) for record in records]
    return VocObjects(
        image=np.repeat(np.arange(len(records)), counts),
        category=np.array([entry["category_id"] for entry in annotations], dtype=np.int64),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4) + _TO_PIXELS,
        difficult=np.array([bool(entry.get("difficult", 0)) for entry in annotations], dtype=bool),
    )
