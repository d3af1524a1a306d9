"""Modules that have another name now: for one release, importing the old one says the new one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

MOVED = {
    "checkpoint.recognise": "centernet_d2.checkpoint.detect_source",
    "data.box3d_mapper": "centernet_d2.data.mapper, with data.fields.boxes3d.Boxes3DField",
    "data.datasets.shapes": "centernet_d2.synthetic",
    "data.datasets.shapes3d": "centernet_d2.synthetic",
    "data.joints": "centernet_d2.data.fields.joints",
    "data.mappers": "centernet_d2.data.mapper",
    "engine.benchmark": "benchmarks, beside the package in a checkout",
    "engine.joints": "centernet_d2.modeling.point_tasks.pose_config",
    "engine.predict_files": "centernet_d2.inference.files",
    "engine.predictor": "centernet_d2.inference.predictor (or centernet_d2.Predictor)",
    "evaluation.json_files": "centernet_d2.atomic_write",
    "modeling.test_protocol": "centernet_d2.modeling.inference_protocol (InferenceProtocol)",
    "whole_files": "centernet_d2.atomic_write",
}


class MovedModules(MetaPathFinder):
    """The first finder: a folder of an old name, left with caches alone, is a module to others."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        """Raise ModuleNotFoundError with the new name of a moved module."""
        package, _, name = fullname.partition(".")
        if package == __package__ and name in MOVED:
            raise ModuleNotFoundError(f"{fullname} is now {MOVED[name]}", name=fullname)


def say_new_names() -> None:
    """Install the finder, once."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedModules())
