"""Modules that have another name now: for one release, importing the old one says the new one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

MOVED = {
    "checkpoint.recognise": "centernet_d2.checkpoint.detect_source",
    "data.box3d_mapper": "centernet_d2.data.mapper, with data.fields.boxes3d.Boxes3DField",
    "data.box3d_transforms": "centernet_d2.data.fields.boxes3d_transforms",
    "data.datasets.made_once": "centernet_d2.synthetic.files",
    "data.datasets.shapes": "centernet_d2.synthetic",
    "data.datasets.shapes3d": "centernet_d2.synthetic",
    "data.datasets.split_list": "centernet_d2.data.datasets.folders",
    "data.joints": "centernet_d2.data.fields.joints",
    "data.mappers": "centernet_d2.data.mapper",
    "engine.benchmark": "benchmarks, beside the package in a checkout",
    "engine.config_values": "centernet_d2.config.checks",
    "engine.given_keys": "centernet_d2.engine.schedule",
    "engine.image_cameras": "centernet_d2.inference.cameras",
    "engine.joints": "centernet_d2.modeling.point_tasks.pose_config",
    "engine.predict_files": "centernet_d2.inference.files",
    "engine.prediction_records": "centernet_d2.inference.records",
    "engine.predictor": "centernet_d2.inference.predictor (or centernet_d2.Predictor)",
    "evaluation.json_files": "centernet_d2.atomic_write",
    "evaluation.voc_ground_truth": "centernet_d2.evaluation.voc",
    "modeling.fitting_canvas": "centernet_d2.modeling.canvas",
    "modeling.test_protocol": "centernet_d2.modeling.inference_protocol (InferenceProtocol)",
    "targets.visible_objects": "centernet_d2.targets.clipped_objects",
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
