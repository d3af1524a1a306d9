"""The joints of the point task "pose": number, flip and classes, from the datasets' metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ..data.datasets.skeletons import skeleton_of
from ..structures.skeleton import HOW_TO_NAME_JOINTS, Skeleton, check_flip_indices
from .class_names import describe_datasets, difference

_POSE = "MODEL.POINTS_CENTERNET.POSE"


def set_joints(cfg: CfgNode) -> str:
    """Fill what `MODEL.POINTS_CENTERNET.POSE` leaves open; nothing without the task "pose".

    Taken from the metadata of DATASETS.TRAIN and TEST: NUM_JOINTS 0 from `keypoint_names`,
    FLIP_INDICES [] from `keypoint_flip_map` (or from left and right in the names), CLASSES [] from
    `keypoint_classes` (names of the classes with joints; where it is missing, all have them). What
    is set stays, and so does everything where no dataset is registered here, as when predicting
    from a saved config.

    Returns:
        A warning of what is taken on trust, since no dataset names it; "" if nothing is.

    Raises:
        ValueError: datasets disagree with each other or with what is set, NUM_JOINTS is 0 and
            nothing is known, or a flip is used and nothing says what it exchanges.
    """
    if "pose" not in cfg.MODEL.POINTS_CENTERNET.TASKS:
        return ""
    pose, num_classes = cfg.MODEL.POINTS_CENTERNET.POSE, cfg.MODEL.HEATMAP.NUM_CLASSES
    if any(not 0 <= index < num_classes for index in pose.CLASSES):
        raise ValueError(
            f"{_POSE}.CLASSES is {pose.CLASSES}, but classes are numbered 0 to {num_classes - 1}; "
            "set it to [] to take the classes with joints from the dataset"
        )
    skeleton = common_skeleton(cfg)
    if skeleton is None:
        warning = _taken_on_trust(cfg)
    else:
        warning = _take(skeleton, cfg)
        pose.CLASSES = pose.CLASSES or _classes_with_joints(cfg)
    check_flip_indices(pose.FLIP_INDICES, pose.NUM_JOINTS)
    _check_sigmas(cfg.TEST.KEYPOINT_OKS_SIGMAS, pose.NUM_JOINTS)
    return warning


def _taken_on_trust(cfg: CfgNode) -> str:
    pose = cfg.MODEL.POINTS_CENTERNET.POSE
    if pose.NUM_JOINTS == 0:
        raise ValueError(
            f"MODEL.POINTS_CENTERNET.TASKS has 'pose', {_POSE}.NUM_JOINTS is 0, and "
            f"{describe_datasets(cfg)} names no joints. {HOW_TO_NAME_JOINTS}; or set the number"
        )
    if not registered_datasets(cfg):
        return ""
    return (
        f"{describe_datasets(cfg)} names no joints: {_POSE} is believed, which says "
        f"{pose.NUM_JOINTS} joints and FLIP_INDICES {pose.FLIP_INDICES}. {HOW_TO_NAME_JOINTS}"
    )


def _take(skeleton: Skeleton, cfg: CfgNode) -> str:
    pose, count = cfg.MODEL.POINTS_CENTERNET.POSE, len(skeleton.names)
    if pose.NUM_JOINTS not in (0, count):
        raise ValueError(
            f"{_POSE}.NUM_JOINTS is {pose.NUM_JOINTS}, but {skeleton.source} has {count} joints: "
            f"{', '.join(skeleton.names)}. Set it to 0, and FLIP_INDICES to [], to take both from "
            "there"
        )
    pose.NUM_JOINTS = count
    given = list(pose.FLIP_INDICES)
    if skeleton.flip_map is None and given:
        return (
            f"{skeleton.source} does not say which joints a flip exchanges: {_POSE}.FLIP_INDICES "
            f"{given} is believed"
        )
    if skeleton.flip_map is not None or cfg.INPUT.FLIP_PROBABILITY > 0 or cfg.TEST.FLIP:
        pose.FLIP_INDICES = skeleton.flip_indices()
    if given and given != pose.FLIP_INDICES:
        raise ValueError(
            f"{_POSE}.FLIP_INDICES is {given}, but by {skeleton.source} a flip makes of the "
            f"joints {', '.join(skeleton.names)} those of {pose.FLIP_INDICES}. The dataset's "
            "joints are others than the config's, or in another order: set FLIP_INDICES to [], and "
            "NUM_JOINTS to 0, to take both from there, or correct 'keypoint_flip_map'"
        )
    return ""


def _check_sigmas(sigmas: Sequence[float], count: int) -> None:
    if sigmas and (len(sigmas) != count or min(sigmas) <= 0):
        raise ValueError(
            f"TEST.KEYPOINT_OKS_SIGMAS is {list(sigmas)}; it must be {count} positive numbers, one "
            "per joint, or [] to take those of the dataset"
        )


def common_skeleton(cfg: CfgNode) -> Skeleton | None:
    """The skeleton that all datasets of `cfg` with joints agree on; None where there is none.

    What one dataset does not know of a flip another may. Tolerances and limbs are each dataset's
    own: the first one's stand here.

    Raises:
        ValueError: two datasets differ in the joints, or in what a flip exchanges.
    """
    common: Skeleton | None = None
    for name in registered_datasets(cfg):
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


def joint_names(cfg: CfgNode) -> list[str]:
    """The names of the joints that the model finds; [] without the task "pose", or if unknown."""
    if "pose" not in cfg.MODEL.POINTS_CENTERNET.TASKS:
        return []
    skeleton = common_skeleton(cfg)
    return list(skeleton.names) if skeleton else []


def _classes_with_joints(cfg: CfgNode) -> list[int]:
    """Indices of the classes that any dataset's `keypoint_classes` names; [] where none does."""
    found: set[int] = set()
    for name in registered_datasets(cfg):
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


def registered_datasets(cfg: CfgNode) -> list[str]:
    """The datasets of `cfg` that are registered here, each once."""
    names = dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    return [name for name in names if name in DatasetCatalog.list()]
