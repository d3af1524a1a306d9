"""From a config and a dataset name to its evaluator. Here alone this room reads `cfg`."""

from __future__ import annotations

import logging
import os

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from fvcore.common.registry import Registry

from ..structures.skeleton import HOW_TO_NAME_JOINTS
from .coco import CocoEvaluator
from .kitti_evaluation import KittiEvaluator
from .voc import VocEvaluator

logger = logging.getLogger(__name__)

EVALUATOR_REGISTRY = Registry("EVALUATOR")
EVALUATOR_REGISTRY.__doc__ = """
Builders of evaluators. The name of an entry is the `evaluator_type` in a dataset's metadata; an
entry is called as `entry(cfg, dataset_name, output_folder)` and returns a `DatasetEvaluator`.
"""


def build_evaluator(
    cfg: CfgNode, dataset_name: str, output_folder: str | None = None
) -> DatasetEvaluator:
    """Build the evaluator that the dataset's metadata asks for.

    Args:
        cfg: a config with this package's keys.
        dataset_name: registered name of the dataset.
        output_folder: where results are written; None: `inference` in OUTPUT_DIR, with a folder
            per dataset where DATASETS.TEST names several, so that none overwrites another.

    Raises:
        ValueError: the dataset is not registered, or no entry has its `evaluator_type`.
    """
    if dataset_name not in DatasetCatalog.list():
        raise ValueError(
            f"Dataset '{dataset_name}' is not registered. Register it before evaluation, or give "
            'files in DATASETS.TEST as "coco:<annotations.json>:<image folder>" and call '
            "centernet_d2.setup(cfg)."
        )
    evaluator_type = MetadataCatalog.get(dataset_name).get("evaluator_type")
    if evaluator_type is None or evaluator_type not in EVALUATOR_REGISTRY:
        known = ", ".join(sorted(name for name, _ in EVALUATOR_REGISTRY))
        raise ValueError(
            f"Dataset '{dataset_name}' has evaluator_type {evaluator_type!r}, for which no "
            f"evaluator is registered (known: {known}). Set one with "
            f"MetadataCatalog.get('{dataset_name}').evaluator_type = ..., or register a builder of "
            "that name in centernet_d2.evaluation.EVALUATOR_REGISTRY."
        )
    if output_folder is None:
        output_folder = os.path.join(cfg.OUTPUT_DIR, "inference")
        if len(cfg.DATASETS.TEST) > 1:
            output_folder = os.path.join(output_folder, dataset_name)
    return EVALUATOR_REGISTRY.get(evaluator_type)(cfg, dataset_name, output_folder)


@EVALUATOR_REGISTRY.register()
def coco(cfg: CfgNode, dataset_name: str, output_folder: str | None) -> CocoEvaluator:
    """COCO boxes, and joints with the point task "pose", where `evaluator_type` is "coco".

    OKS sigmas are detectron2's TEST.KEYPOINT_OKS_SIGMAS or, where that is empty, the metadata's.
    """
    with_joints = "pose" in cfg.MODEL.POINTS_CENTERNET.TASKS
    if with_joints and not MetadataCatalog.get(dataset_name).get("keypoint_names"):
        logger.warning(
            "Dataset '%s' names no joints: boxes alone are scored. %s",
            dataset_name,
            HOW_TO_NAME_JOINTS,
        )
        with_joints = False
    return CocoEvaluator(
        dataset_name=dataset_name,
        output_folder=output_folder,
        iou_types=("bbox", "keypoints") if with_joints else ("bbox",),
        oks_sigmas=cfg.TEST.KEYPOINT_OKS_SIGMAS or None,
        backend=cfg.TEST.COCO_BACKEND,
        round_results=cfg.TEST.ROUND_RESULTS or None,
        protocol=protocol_name(cfg),
        per_iou_ap=cfg.TEST.PER_IOU_AP,
        false_discovery=cfg.TEST.FALSE_DISCOVERY,
    )


@EVALUATOR_REGISTRY.register()
def pascal_voc(cfg: CfgNode, dataset_name: str, output_folder: str | None) -> VocEvaluator:
    """Pascal VOC, for datasets whose `evaluator_type` is "pascal_voc"."""
    return VocEvaluator(
        dataset_name=dataset_name,
        output_folder=output_folder,
        file_offset=cfg.TEST.VOC.FILE_OFFSET,
        round_to_files=cfg.TEST.VOC.ROUND,
        protocol=protocol_name(cfg, "pascal_voc"),
    )


@EVALUATOR_REGISTRY.register()
def kitti(cfg: CfgNode, dataset_name: str, output_folder: str | None) -> KittiEvaluator:
    """KITTI's 3-D boxes, for datasets whose `evaluator_type` is "kitti"."""
    return KittiEvaluator(
        dataset_name=dataset_name,
        output_folder=output_folder,
        round_results=cfg.TEST.KITTI.ROUND_RESULTS or None,
        protocol=protocol_name(cfg, "kitti"),
    )


CORNER_DETECTORS = ("CornerNet", "TripletCenterNet")
PUBLISHED_SCALES = [0.5, 0.75, 1.0, 1.25, 1.5]
TRIPLET_SCALES = [0.6, 1.0, 1.2, 1.5, 1.8]
# Of MODEL.POINTS_CENTERNET.POSE: published values, and how others are told.
PUBLISHED_SNAPPING = {
    "CANDIDATES": (100, "{} candidates"),
    "CANDIDATE_SCORE": (0.1, "candidates above {}"),
    "SNAP_DISTANCE": (0.3, "snap distance {}"),
}


# How TEST.FIXED_FIT other than "whole" is told.
FITS = {"whole": "", "width": " by width", "none": " in its pixels"}


def protocol_name(cfg: CfgNode, evaluator_type: str = "coco") -> str:
    """Name the test protocol as the papers' tables do: "<augmentation> / <resolution>".

    The augmentation is "none", "flip" or "ms" (several scales, with flip). Scores of one model
    differ by points between protocols, so the name stands beside every score. What departs from the
    detector's published protocol in another way is added: scales, NMS, snapping of joints, canvas,
    rounding; of 3-D boxes what is as published, which is not the default.

    Args:
        cfg: a config with this package's keys.
        evaluator_type: whose rounding it is: "coco", "pascal_voc" or "kitti".
    """
    is_corners = cfg.MODEL.META_ARCHITECTURE in CORNER_DETECTORS
    resolution = cfg.TEST.RESOLUTION
    if resolution == "fixed":
        height, width = cfg.TEST.FIXED_SIZE
        resolution = f"fixed {height}x{width}" + FITS.get(cfg.TEST.FIXED_FIT, "")
    suppression = _corner_suppression(cfg) if is_corners else _suppression(cfg)
    snapping = [] if is_corners else _snapping(cfg)
    parts = [_augmentation(cfg), resolution, *suppression, *snapping, *_boxes3d(cfg)]
    published_canvas = "odd" if is_corners else "strict"
    if cfg.TEST.RESOLUTION == "keep_res" and published_canvas != cfg.TEST.CANVAS:
        parts.append(f"{cfg.TEST.CANVAS} canvas")
    if cfg.TEST.DTYPE != "float32":
        parts.append(cfg.TEST.DTYPE)
    return " / ".join([*parts, *_rounding(cfg, evaluator_type)])


def _rounding(cfg: CfgNode, evaluator_type: str) -> list[str]:
    """Decimals of what is scored, where they are not the published ones."""
    decimals, published = {
        "coco": (cfg.TEST.ROUND_RESULTS, 0),
        "pascal_voc": (cfg.TEST.VOC.ROUND, True),
        "kitti": (cfg.TEST.KITTI.ROUND_RESULTS, 2),
    }[evaluator_type]
    if decimals == published:
        return []
    return [f"rounded to {decimals} decimals" if decimals else "unrounded"]


def _boxes3d(cfg: CfgNode) -> list[str]:
    """What the published code does with 3-D boxes, and is not done without being asked."""
    points = cfg.MODEL.POINTS_CENTERNET
    if "box3d" not in points.TASKS:
        return []
    parts = ["sizes as points"] if points.BOX2D.SIZE_AS_POINT else []
    return parts + (["one camera per batch"] if points.BOX3D.CALIBRATION == "first" else [])


def _augmentation(cfg: CfgNode) -> str:
    scales = [float(scale) for scale in cfg.TEST.SCALES]
    listed = ", ".join(f"{scale:g}" for scale in scales)
    if len(scales) == 1:
        name = "flip" if cfg.TEST.FLIP else "none"
        return name if scales == [1.0] else f"{name} at scale {listed}"
    name = "ms" if cfg.TEST.FLIP else "ms without flip"
    is_triplet = cfg.MODEL.META_ARCHITECTURE == "TripletCenterNet"
    published = TRIPLET_SCALES if is_triplet else PUBLISHED_SCALES
    return name if sorted(scales) == published else f"{name} ({listed})"


def _suppression(cfg: CfgNode) -> list[str]:
    """What happens to overlapping boxes of points CenterNet, where it is not the published way."""
    parts, nms = [], cfg.MODEL.POINTS_CENTERNET.BOX2D.NMS
    if len(cfg.TEST.SCALES) > 1:
        parts = _soft_nms(cfg)
        nms = nms if nms == "hard" else "none"
    return parts + ([f"{nms} NMS"] if nms != "none" else [])


def _snapping(cfg: CfgNode) -> list[str]:
    """How joints move to peaks, where it is not the published way."""
    pose = cfg.MODEL.POINTS_CENTERNET.POSE
    if "pose" not in cfg.MODEL.POINTS_CENTERNET.TASKS or not pose.JOINT_HEATMAP:
        return []
    if pose.SNAPPING == "none":
        return ["no snapping"]
    parts, used = [], dict(PUBLISHED_SNAPPING)
    if pose.SNAPPING != "published":
        parts.append(f"{pose.SNAPPING} snapping")
        del used["SNAP_DISTANCE"]  # the paper's rule has none
    return parts + [words.format(pose[key]) for key, (v, words) in used.items() if pose[key] != v]


def _corner_suppression(cfg: CfgNode) -> list[str]:
    """The same of the corner detectors: soft-NMS always, which merges boxes of several scales."""
    rule, several = cfg.MODEL.CORNERNET.MERGE_BOXES, len(cfg.TEST.SCALES) > 1
    unusual = {"always": not several, "never": several}.get(rule, False)
    return _soft_nms(cfg) + ([f"boxes {rule} merged"] if unusual else [])


def _soft_nms(cfg: CfgNode) -> list[str]:
    rule = cfg.TEST.SOFT_NMS
    method = "" if rule.METHOD == "gaussian" else f"{rule.METHOD} "
    mode = "" if rule.MODE == "reference" else f"{rule.MODE} "
    return [f"{mode}{method}soft-NMS"] if mode or method else []
