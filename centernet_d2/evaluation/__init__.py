"""Scores of a detector: registry of evaluators, builder from a config, COCO and VOC evaluators."""

from .build import EVALUATOR_REGISTRY, build_evaluator
from .coco import CocoEvaluator
from .voc import VocEvaluator

__all__ = ["EVALUATOR_REGISTRY", "CocoEvaluator", "VocEvaluator", "build_evaluator"]
