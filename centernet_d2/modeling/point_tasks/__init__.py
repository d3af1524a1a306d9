"""Point tasks: what the points detector regresses at a center."""

from . import box2d, box3d, pose  # noqa: F401  (register)
from .base import (
    POINT_TASK_REGISTRY,
    PointTask,
    build_point_tasks,
    check_required_branches,
    merge_named,
)

__all__ = [
    "POINT_TASK_REGISTRY",
    "PointTask",
    "build_point_tasks",
    "check_required_branches",
    "merge_named",
]
