"""From a dataset's name, a config and what a model says of itself to an evaluator."""

import inspect
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from fvcore.common.registry import Registry

from ..data.records import require_registered

logger = logging.getLogger(__name__)

EVALUATOR_REGISTRY = Registry("EVALUATOR")
EVALUATOR_REGISTRY.__doc__ = """
Builders of evaluators. The name of an entry is the `evaluator_type` in a dataset's metadata, or one
of a point task's `evaluators`. An entry is called as `entry(cfg, dataset_name, output_folder)` and
returns a `DatasetEvaluator`. Where it has parameters of these names (or `**context`) it also gets,
by keyword, `protocol`, the name of the test protocol to print beside scores, and `outputs`, the
names of the fields of the model's detections.
"""


def build_evaluator(
    cfg: CfgNode,
    dataset_name: str,
    output_folder: str | None = None,
    *,
    protocol: str = "",
    outputs: Collection[str] = ("pred_boxes",),
    evaluators: Collection[str] = (),
) -> DatasetEvaluator:
    """Build the evaluator that the dataset's metadata asks for, and those that the model asks for.

    Args:
        cfg: a config with this package's keys.
        dataset_name: registered name of the dataset.
        output_folder: where results are written; None: `inference` in OUTPUT_DIR, with a folder
            per dataset where DATASETS.TEST names several, so that none overwrites another.
        protocol: name of the test protocol; see `told_by_model`.
        outputs: names of the fields of the model's detections; they decide what is scored.
        evaluators: further entries of the registry. Each writes to a folder of its name in the
            output folder, and its results are merged with the dataset's own.
    """
    require_registered(dataset_name)
    own = MetadataCatalog.get(dataset_name).get("evaluator_type")
    known = sorted(name for name, _ in EVALUATOR_REGISTRY)
    asked = dict.fromkeys([own, *evaluators])
    if unknown := [name for name in asked if name not in known]:
        raise ValueError(
            f"Dataset '{dataset_name}' has evaluator_type {own!r}, the model asks for the "
            f"evaluators {list(evaluators)}: none is registered as {unknown} (known: "
            f"{', '.join(known)}). Set MetadataCatalog.get('{dataset_name}').evaluator_type = ..., "
            "or register builders of these names in centernet_d2.evaluation.EVALUATOR_REGISTRY."
        )
    if output_folder is None:
        output_folder = os.path.join(cfg.OUTPUT_DIR, "inference")
        if len(cfg.DATASETS.TEST) > 1:
            output_folder = os.path.join(output_folder, dataset_name)
    folders = {n: output_folder if n == own else os.path.join(output_folder, n) for n in asked}
    context = {"protocol": protocol, "outputs": tuple(outputs)}
    built = [
        call_with_context(EVALUATOR_REGISTRY.get(name), cfg, dataset_name, folder, **context)
        for name, folder in folders.items()
    ]
    return MergedEvaluators(built) if len(built) > 1 else built[0]


def check_outputs(dataset_names: Collection[str], outputs: Collection[str]) -> None:
    """Raise ValueError before a training whose evaluation would find no boxes to score."""
    for name in dataset_names if "pred_boxes" not in outputs else ():
        kind = MetadataCatalog.get(name).get("evaluator_type")
        if kind in ("coco", "pascal_voc", "kitti"):
            raise ValueError(
                f"The detections have {list(outputs)} and no boxes, which evaluator_type '{kind}' "
                f"of dataset '{name}' scores. Add 'box2d' to MODEL.POINTS_CENTERNET.TASKS, set "
                'another evaluator_type, or DATASETS.TEST "()"'
            )


def told_by_model(model: Any) -> dict[str, Any]:
    """The keyword arguments of `build_evaluator` that a model gives; others' models tell less."""
    describe = getattr(model, "describe_protocol", None)
    return {
        "protocol": describe() if describe else "",
        "outputs": tuple(getattr(model, "output_fields", ("pred_boxes",))),
        "evaluators": tuple(getattr(model, "evaluators", ())),
    }


def call_with_context(function: Callable[..., Any], *arguments: Any, **context: Any) -> Any:
    """Call with those of the keyword arguments `context` that the function has parameters for."""
    parameters = inspect.signature(function).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        context = {name: value for name, value in context.items() if name in parameters}
    return function(*arguments, **context)


class MergedEvaluators(DatasetEvaluators):
    """Several evaluators of one dataset, whose results are merged task by task."""

    def evaluate(self) -> OrderedDict:
        """Results of all; of a number that several give, that of the first is kept."""
        merged: OrderedDict[str, Any] = OrderedDict()
        for evaluator in self._evaluators:
            for task, scores in (evaluator.evaluate() or {}).items():
                here = merged.setdefault(task, {})
                repeated = sorted(set(here) & set(scores))
                if repeated:
                    logger.warning(
                        "%s of %s were given already by another evaluator and are left out.",
                        ", ".join(f"{task}/{name}" for name in repeated),
                        type(evaluator).__name__,
                    )
                here.update({name: v for name, v in scores.items() if name not in here})
        return merged


# The evaluators of this package are imported where a dataset asks for them.
@EVALUATOR_REGISTRY.register()
def coco(
    cfg: CfgNode,
    dataset_name: str,
    output_folder: str | None,
    *,
    protocol: str = "",
    outputs: Collection[str] = (),
) -> DatasetEvaluator:
    """COCO boxes, and joints of a model that gives `pred_keypoints`.

    OKS sigmas are detectron2's TEST.KEYPOINT_OKS_SIGMAS or, where that is empty, the metadata's.
    """
    from .coco import CocoEvaluator

    with_joints = "pred_keypoints" in outputs
    if with_joints and not MetadataCatalog.get(dataset_name).get("keypoint_names"):
        from ..structures.skeleton import HOW_TO_NAME_JOINTS

        message = "Dataset '%s' names no joints: boxes alone are scored. %s"
        logger.warning(message, dataset_name, HOW_TO_NAME_JOINTS)
        with_joints = False
    return CocoEvaluator(
        dataset_name=dataset_name,
        output_folder=output_folder,
        iou_types=("bbox", "keypoints") if with_joints else ("bbox",),
        oks_sigmas=cfg.TEST.KEYPOINT_OKS_SIGMAS or None,
        backend=cfg.TEST.COCO_BACKEND,
        round_results=cfg.TEST.ROUND_RESULTS or None,
        protocol=protocol,
        per_iou_ap=cfg.TEST.PER_IOU_AP,
        false_discovery=cfg.TEST.FALSE_DISCOVERY,
        max_detections=cfg.TEST.COCO_MAX_DETECTIONS,
        model_limits=detection_limits(cfg, is_own=bool(protocol)),
    )


def detection_limits(cfg: CfgNode, *, is_own: bool) -> dict[str, int]:
    """The keys that limit how many objects of an image a detector, perhaps our own, finds."""
    limits = {"TEST.DETECTIONS_PER_IMAGE": cfg.TEST.DETECTIONS_PER_IMAGE}
    if is_own and cfg.MODEL.META_ARCHITECTURE != "StackedRetinaNet":  # of peaks, at each scale
        limits["MODEL.HEATMAP.TOP_K"] = cfg.MODEL.HEATMAP.TOP_K * len(cfg.TEST.SCALES)
    return {key: limit for key, limit in limits.items() if limit > 0}


@EVALUATOR_REGISTRY.register()
def pascal_voc(
    cfg: CfgNode, dataset_name: str, output_folder: str | None, *, protocol: str = ""
) -> DatasetEvaluator:
    """Pascal VOC's boxes."""
    from .voc import VocEvaluator

    return VocEvaluator(
        dataset_name=dataset_name,
        output_folder=output_folder,
        file_offset=cfg.TEST.VOC.FILE_OFFSET,
        round_to_files=cfg.TEST.VOC.ROUND,
        protocol=protocol,
    )


@EVALUATOR_REGISTRY.register()
def kitti(
    cfg: CfgNode, dataset_name: str, output_folder: str | None, *, protocol: str = ""
) -> DatasetEvaluator:
    """KITTI's boxes in the image and in space."""
    from .kitti_evaluation import KittiEvaluator

    return KittiEvaluator(
        dataset_name=dataset_name,
        output_folder=output_folder,
        round_results=cfg.TEST.KITTI.ROUND_RESULTS or None,
        protocol=protocol,
    )
