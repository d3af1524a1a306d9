"""The records of a registered dataset, as evaluators of boxes compare detections with them."""

from collections.abc import Iterator

from detectron2.data import MetadataCatalog

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
