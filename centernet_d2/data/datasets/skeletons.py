"""The joints of registered datasets, from detectron2's catalogue."""

from __future__ import annotations

from detectron2.data import MetadataCatalog

from ...structures.skeleton import Skeleton


def skeleton_of(dataset_name: str) -> Skeleton | None:
    """Return the skeleton in a dataset's metadata; None where it names no joints.

    Raises:
        ValueError: see `Skeleton`.
    """
    return Skeleton.from_metadata(MetadataCatalog.get(dataset_name), dataset_name)
