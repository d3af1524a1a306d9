"""Point tasks: what the points detector regresses at a center."""

from .base import (
    POINT_TASK_REGISTRY,
    Branches,
    PointTask,
    build_point_tasks,
    point_task,
    point_tasks,
    register_point_task,
)

__all__ = [
    "POINT_TASK_REGISTRY",
    "Branches",
    "PointTask",
    "build_point_tasks",
    "point_task",
    "point_tasks",
    "register_point_task",
]
