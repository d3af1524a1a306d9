"""Scores of a detector: registry of evaluators, builder, evaluators of COCO, VOC and KITTI.

The evaluators are imported when they are named, so that none runs code of another's.
"""

from importlib import import_module
from typing import Any

from .build import EVALUATOR_REGISTRY, build_evaluator

_MODULES = {"CocoEvaluator": "coco", "KittiEvaluator": "kitti_evaluation", "VocEvaluator": "voc"}
__all__ = ["EVALUATOR_REGISTRY", "build_evaluator", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
