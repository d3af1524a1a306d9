"""The records of a registered dataset, as evaluators of boxes compare detections with them."""

from __future__ import annotations

from detectron2.data import DatasetCatalog, MetadataCatalog


def read_records(dataset_name: str) -> tuple[list[dict], list[str]]:
    """Records and class names; ValueError where the metadata has none."""
    class_names = MetadataCatalog.get(dataset_name).get("thing_classes")
    if not class_names:
        raise ValueError(
            f"Dataset '{dataset_name}' has no class names: set thing_classes in its metadata."
        )
    return DatasetCatalog.get(dataset_name), list(class_names)


def are_labelled(dataset_name: str, records: list[dict]) -> bool:
    """Whether the records have annotations; ValueError, naming the first without, if only some."""
    without = [record for record in records if "annotations" not in record]
    if without and len(without) < len(records):
        name = without[0].get("file_name", without[0]["image_id"])
        raise ValueError(
            f"Dataset '{dataset_name}': {len(without)} of {len(records)} records have no "
            f"'annotations', such as image {name}, although others have. Give images without "
            "objects an empty list."
        )
    return bool(records) and not without
