"""The joints of the point task "pose": number, mirror and classes, from the datasets' metadata."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ..structures.skeleton import Skeleton, skeleton_of
from .class_names import describe_datasets, difference

_POSE = "MODEL.POINTS_CENTERNET.POSE"


def set_joints(cfg: CfgNode) -> None:
    """Fill what `MODEL.POINTS_CENTERNET.POSE` leaves open; nothing without the task "pose".

    Taken from the metadata of DATASETS.TRAIN and TEST: NUM_JOINTS 0 from `keypoint_names`,
    FLIP_INDICES [] from `keypoint_flip_map` (or from left and right in the names), CLASSES [] from
    `keypoint_classes` (names of the classes with joints; where it is missing, all have them). What
    is set stays, and so does everything where no dataset is registered here, as when predicting
    from a saved config.

    Raises:
        ValueError: datasets disagree with each other or with NUM_JOINTS, NUM_JOINTS is 0 and
            nothing is known, or a mirror is used and nothing says what it exchanges.
    """
    if "pose" not in cfg.MODEL.POINTS_CENTERNET.TASKS:
        return
    pose, num_classes = cfg.MODEL.POINTS_CENTERNET.POSE, cfg.MODEL.HEATMAP.NUM_CLASSES
    if any(not 0 <= index < num_classes for index in pose.CLASSES):
        raise ValueError(
            f"{_POSE}.CLASSES is {pose.CLASSES}, but classes are numbered 0 to {num_classes - 1}; "
            "set it to [] to take the classes with joints from the dataset"
        )
    skeleton = common_skeleton(cfg)
    if skeleton is None:
        if pose.NUM_JOINTS == 0:
            raise ValueError(
                f"MODEL.POINTS_CENTERNET.TASKS has 'pose', {_POSE}.NUM_JOINTS is 0, and "
                f"{describe_datasets(cfg)} names no joints. A COCO JSON names them as 'keypoints' "
                "of a category, another dataset as MetadataCatalog.get(name).keypoint_names; or "
                "set the number"
            )
        return
    count = len(skeleton.names)
    if pose.NUM_JOINTS not in (0, count):
        raise ValueError(
            f"{_POSE}.NUM_JOINTS is {pose.NUM_JOINTS}, but {skeleton.source} has {count} joints: "
            f"{', '.join(skeleton.names)}. Set it to 0 to take the number from there"
        )
    pose.NUM_JOINTS = count
    if not pose.FLIP_INDICES and (
        skeleton.flip_map is not None or cfg.INPUT.FLIP_PROBABILITY > 0 or cfg.TEST.FLIP
    ):
        pose.FLIP_INDICES = skeleton.flip_indices()
    pose.CLASSES = pose.CLASSES or _classes_with_joints(cfg)


def common_skeleton(cfg: CfgNode) -> Skeleton | None:
    """The skeleton that all datasets of `cfg` with joints agree on; None where there is none.

    Raises:
        ValueError: two datasets differ.
    """
    first: Skeleton | None = None
    for name in _registered(cfg):
        skeleton = skeleton_of(name)
        if skeleton is None:
            continue
        first = first or skeleton
        if skeleton.names != first.names:
            raise ValueError(
                f"{first.source} and {skeleton.source} have different joints "
                f"({difference(first.names, skeleton.names, 'joint')}). Give both the same "
                "'keypoint_names' in the same order"
            )
    return first


def _classes_with_joints(cfg: CfgNode) -> list[int]:
    """Indices of the classes that any dataset's `keypoint_classes` names; [] where none does."""
    found: set[int] = set()
    for name in _registered(cfg):
        metadata = MetadataCatalog.get(name)
        classes = list(metadata.get("thing_classes") or ())
        having = metadata.get("keypoint_classes") or ()
        if unknown := set(having) - set(classes):
            raise ValueError(
                f"metadata of dataset '{name}': 'keypoint_classes' names {sorted(unknown)}, which "
                f"are none of its thing_classes {classes}. Correct the names"
            )
        found |= {classes.index(entry) for entry in having}
    return sorted(found) if len(found) < cfg.MODEL.HEATMAP.NUM_CLASSES else []


def _registered(cfg: CfgNode) -> list[str]:
    names = dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    return [name for name in names if name in DatasetCatalog.list()]
