"""The joints of the point task "pose": number, flip and classes, from the datasets' metadata."""

from detectron2.config import CfgNode

from ...data.datasets.skeletons import classes_with_joints, common_skeleton, registered
from ...data.fields.joints import NO_FLIPS
from ...structures.skeleton import (
    HOW_TO_NAME_JOINTS,
    Skeleton,
    check_flip_indices,
    missing_flip_map,
)

_POSE = "MODEL.POINTS_CENTERNET.POSE"


def complete_joints(cfg: CfgNode) -> str:
    """Fill what `MODEL.POINTS_CENTERNET.POSE` leaves open.

    From the metadata of DATASETS.TRAIN and TEST: NUM_JOINTS 0 from `keypoint_names`, FLIP_INDICES
    [] from `keypoint_flip_map` (or from left and right in the names), CLASSES [] from
    `keypoint_classes` (where it is missing, all have joints). What is set stays, and all where no
    dataset is registered here. Returns a warning of what no dataset names; "" if there is nothing.

    Raises:
        ValueError: datasets disagree with each other or with what is set, NUM_JOINTS is 0 and
            nothing is known, or a flip is used and nothing says what it exchanges.
    """
    pose, num_classes = cfg.MODEL.POINTS_CENTERNET.POSE, cfg.MODEL.HEATMAP.NUM_CLASSES
    if any(not 0 <= index < num_classes for index in pose.CLASSES):
        raise ValueError(
            f"{_POSE}.CLASSES is {pose.CLASSES}, but classes are numbered 0 to {num_classes - 1}; "
            "set it to [] to take the classes with joints from the dataset"
        )
    skeleton = common_skeleton(datasets_of(cfg))
    if skeleton is None:
        warning = _taken_on_trust(cfg)
    else:
        warning = _take(skeleton, cfg)
        having = classes_with_joints(datasets_of(cfg))
        pose.CLASSES = pose.CLASSES or (having if len(having) < num_classes else [])
    check_flip_indices(pose.FLIP_INDICES, pose.NUM_JOINTS, f"{_POSE}.FLIP_INDICES")
    sigmas, count = list(cfg.TEST.KEYPOINT_OKS_SIGMAS), pose.NUM_JOINTS
    if sigmas and (len(sigmas) != count or min(sigmas) <= 0):
        raise ValueError(
            f"TEST.KEYPOINT_OKS_SIGMAS is {sigmas}; it must be {count} positive numbers, one per "
            "joint, or [] to take those of the dataset"
        )
    return warning


def _taken_on_trust(cfg: CfgNode) -> str:
    pose = cfg.MODEL.POINTS_CENTERNET.POSE
    told = f"{', '.join(dict.fromkeys(datasets_of(cfg))) or 'no dataset'} names no joints"
    if pose.NUM_JOINTS == 0:
        raise ValueError(
            f"MODEL.POINTS_CENTERNET.TASKS has 'pose', {_POSE}.NUM_JOINTS is 0, and {told}. "
            f"{HOW_TO_NAME_JOINTS}; or set the number"
        )
    if not registered(datasets_of(cfg)):
        return ""
    return (
        f"{told}: {_POSE} is believed, which says {pose.NUM_JOINTS} joints and FLIP_INDICES "
        f"{pose.FLIP_INDICES}. {HOW_TO_NAME_JOINTS}"
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
    if skeleton.flip_map is not None:
        pose.FLIP_INDICES = skeleton.flip_indices()
    elif cfg.INPUT.FLIP_PROBABILITY > 0 or cfg.TEST.FLIP:
        raise ValueError(f"{missing_flip_map(skeleton.source, skeleton.names)} {NO_FLIPS}")
    if given and given != pose.FLIP_INDICES:
        raise ValueError(
            f"{_POSE}.FLIP_INDICES is {given}, but by {skeleton.source} a flip makes of the "
            f"joints {', '.join(skeleton.names)} those of {pose.FLIP_INDICES}. The dataset's "
            "joints are others than the config's, or in another order: set FLIP_INDICES to [], and "
            "NUM_JOINTS to 0, to take both from there, or correct 'keypoint_flip_map'"
        )
    return ""


def datasets_of(cfg: CfgNode) -> list[str]:
    """DATASETS.TRAIN, then TEST."""
    return [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
