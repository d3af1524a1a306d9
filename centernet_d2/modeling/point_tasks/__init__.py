"""Point tasks: what the points detector regresses at a center."""

from . import box2d  # noqa: F401  (registers)
from .base import POINT_TASK_REGISTRY, PointTask, build_point_tasks, merge_named

__all__ = ["POINT_TASK_REGISTRY", "PointTask", "build_point_tasks", "merge_named"]
