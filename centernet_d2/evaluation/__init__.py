"""Scores of a detector: registry of evaluators, builder from a config, the COCO evaluator."""

from .build import EVALUATOR_REGISTRY, build_evaluator
from .coco import CocoEvaluator

__all__ = ["EVALUATOR_REGISTRY", "CocoEvaluator", "build_evaluator"]
