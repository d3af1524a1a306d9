"""The records of a registered dataset, as evaluators of boxes compare detections with them."""

from collections.abc import Iterator, Sequence

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode

from ..data.records import CheckedRecords, check_class_names, checked_records


def read_records(dataset_name: str) -> tuple[CheckedRecords, list[str]]:
    """Records, the same as for training, and class names; DatasetError where there are none."""
    records = checked_records(dataset_name)
    names = MetadataCatalog.get(dataset_name).get("thing_classes")
    return records, check_class_names(names, dataset_name)


def annotations_by_class(record: dict, num_classes: int) -> Iterator[dict]:
    """Yield the annotations; a region that is ignored for every class (-1), once for each."""
    for entry in record["annotations"]:
        if entry["category_id"] >= 0:
            yield entry
        else:
            yield from ({**entry, "category_id": index} for index in range(num_classes))


def annotation_columns(
    records: Sequence[dict], num_classes: int
) -> tuple[list[dict], dict[str, np.ndarray]]:
    """All N of `annotations_by_class`, and their columns.

    `image` (N,) is the row of the record, `category` (N,), `boxes` (N, 4) float64 XYXY.
    """
    of_each = [[*annotations_by_class(record, num_classes)] for record in records]
    entries = [entry for of_image in of_each for entry in of_image]
    boxes = [BoxMode.convert(list(e["bbox"]), e["bbox_mode"], BoxMode.XYXY_ABS) for e in entries]
    return entries, {
        "image": np.repeat(np.arange(len(records)), [len(of_image) for of_image in of_each]),
        "category": np.array([entry["category_id"] for entry in entries], dtype=np.int64),
        "boxes": np.array(boxes, dtype=np.float64).reshape(-1, 4),
    }
