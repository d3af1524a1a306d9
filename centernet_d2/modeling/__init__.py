"""Backbones, heads and detectors; importing it registers them with detectron2."""

from . import backbone  # noqa: F401  (registers)
from .meta_arch.points_centernet import PointsCenterNet
from .point_tasks import POINT_TASK_REGISTRY, PointTask

__all__ = ["POINT_TASK_REGISTRY", "PointTask", "PointsCenterNet"]
