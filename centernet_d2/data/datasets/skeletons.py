"""The joints of registered datasets, from detectron2's catalogue."""

from collections.abc import Iterable
from dataclasses import replace

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...structures.names import difference
from ...structures.skeleton import Skeleton


def skeleton_of(dataset_name: str) -> Skeleton | None:
    """Return the skeleton in a dataset's metadata; None where it names no joints.

    Raises:
        ValueError: see `Skeleton`.
    """
    return Skeleton.from_metadata(MetadataCatalog.get(dataset_name), dataset_name)


def registered(names: Iterable[str]) -> list[str]:
    """Return those of the datasets that are registered here, each once."""
    return [name for name in dict.fromkeys(names) if name in DatasetCatalog.list()]


def common_skeleton(names: Iterable[str]) -> Skeleton | None:
    """Return the skeleton that all datasets with joints agree on; None where there is none.

    What one dataset does not know of a flip another may. Tolerances and limbs are each dataset's
    own: the first one's stand here.

    Raises:
        ValueError: two datasets differ in the joints, or in what a flip exchanges.
    """
    common: Skeleton | None = None
    for name in registered(names):
        skeleton = skeleton_of(name)
        if skeleton is None:
            continue
        common = common or skeleton
        if skeleton.names != common.names:
            raise ValueError(
                f"{common.source} and {skeleton.source} have different joints "
                f"({difference(common.names, skeleton.names, 'joint')}). Give both the same "
                "'keypoint_names' in the same order"
            )
        if common.flip_map is None:
            common = replace(common, flip_map=skeleton.flip_map)
        elif skeleton.flip_map is not None and skeleton.flip_indices() != common.flip_indices():
            raise ValueError(
                f"{common.source} and {skeleton.source} have different pairs of joints that a "
                f"flip exchanges: {common.flip_map} and {skeleton.flip_map} (where none are "
                "given, by left and right in the names). Give both the same 'keypoint_flip_map'"
            )
    return common


def classes_with_joints(names: Iterable[str]) -> list[int]:
    """Return the indices of the classes that any dataset's `keypoint_classes` names."""
    found: set[int] = set()
    for name in registered(names):
        metadata = MetadataCatalog.get(name)
        classes = list(metadata.get("thing_classes") or ())
        having = metadata.get("keypoint_classes") or ()
        if unknown := set(having) - set(classes):
            raise ValueError(
                f"metadata of dataset '{name}': 'keypoint_classes' names {sorted(unknown)}, which "
                f"are none of its thing_classes {classes}. Correct the names"
            )
        found |= {classes.index(entry) for entry in having}
    return sorted(found)
