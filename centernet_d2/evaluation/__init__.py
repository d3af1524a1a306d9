"""Scores of a detector: registry of evaluators, builder, evaluators of COCO, VOC and KITTI."""

from .build import EVALUATOR_REGISTRY, build_evaluator
from .coco import CocoEvaluator
from .kitti_evaluation import KittiEvaluator
from .voc import VocEvaluator

__all__ = [
    "EVALUATOR_REGISTRY",
    "CocoEvaluator",
    "KittiEvaluator",
    "VocEvaluator",
    "build_evaluator",
]
