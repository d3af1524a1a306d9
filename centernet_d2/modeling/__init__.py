"""Backbones, heads and detectors; importing it registers them with detectron2."""

from . import backbone  # noqa: F401  (registers)
from .meta_arch import stacked_retinanet  # noqa: F401
from .meta_arch.cornernet import CornerNet
from .meta_arch.points_centernet import PointsCenterNet
from .meta_arch.triplet_centernet import TripletCenterNet
from .point_tasks import POINT_TASK_REGISTRY, PointTask

__all__ = ["POINT_TASK_REGISTRY", "CornerNet", "PointTask", "PointsCenterNet", "TripletCenterNet"]
