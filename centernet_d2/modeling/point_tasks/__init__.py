"""Point tasks: what the points detector regresses at a center."""

from .base import POINT_TASK_REGISTRY, Branches, PointTask, point_task, register_point_task

__all__ = ["POINT_TASK_REGISTRY", "Branches", "PointTask", "point_task", "register_point_task"]
