"""From a merged config to one that a model can be built from: the one call that an application
needs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog

from ..config import add_centernet_config
from ..data.datasets.from_files import is_file_spec, register_from_files
from ..data.datasets.kitti import allow_missing_frames
from ..detectron2_versions import merge_config_file, unify_defaults
from .class_names import other_classes_than_saved, set_class_names
from .config_values import check_values
from .joints import set_joints
from .schedule_overrides import file_levels, overridden_epoch_keys

logger = logging.getLogger(__name__)
_said: set[str] = set()


def load_config(path: str = "", overrides: Sequence[str] = ()) -> CfgNode:
    """Build a config: defaults, this package's keys, the file at `path`, then `overrides`.

    A config.yaml that another detectron2 version saved is taken too. What is given by hand wins
    over what would be computed: SOLVER.MAX_ITER, SOLVER.STEPS, SOLVER.CHECKPOINT_PERIOD or
    TEST.EVAL_PERIOD in an override, or in a file over its `_BASE_`, empties its partner in epochs,
    unless that is set beside it. DATASETS.TRAIN and TEST may be one name instead of a tuple.

    Args:
        path: YAML file; "" for none.
        overrides: KEY VALUE KEY VALUE ..., as on a command line.
    """
    cfg = get_cfg()
    add_centernet_config(cfg)
    if path:
        merge_config_file(cfg, path)
    overrides = list(overrides)
    if len(overrides) % 2:
        raise ValueError(f"Overrides come in pairs KEY VALUE; '{overrides[-1]}' has no value.")
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        cfg.merge_from_list([key, _one_name(key, value)])
    for key in overridden_epoch_keys([*(file_levels(path) if path else ()), overrides[::2]]):
        cfg.merge_from_list([key, [] if key == "SOLVER.EPOCH_STEPS" else 0])
    return cfg


def _one_name(key: str, value: Any) -> Any:
    """Make a tuple of a single dataset name: "coco:a.json:b" for "('coco:a.json:b',)"."""
    if key not in ("DATASETS.TRAIN", "DATASETS.TEST") or not isinstance(value, str):
        return value
    if value.lstrip().startswith(("(", "[")):
        return value
    return (value,) if value else ()


def setup(cfg: CfgNode) -> CfgNode:
    """Make a merged config ready: datasets registered, classes read, values checked, device found.

    - `coco:<json>:<image dir>` and `voc:<folder>:<split>` in DATASETS.TRAIN and TEST are registered
      and replaced by their short names; DATASETS.FROM_FILES keeps them with absolute paths, so that
      the saved config registers them again, in every process.
    - MODEL.HEATMAP.NUM_CLASSES 0 becomes the number of classes of the datasets or, without a
      dataset, of the checkpoint MODEL.WEIGHTS. Nothing is downloaded for it: weights that are not
      here yet, and are none of the model zoo, are compared where they are loaded.
    - With the point task "pose", what MODEL.POINTS_CENTERNET.POSE leaves open comes from the
      datasets' metadata: number of joints, their flip, the classes that have them.
    - MODEL.DEVICE becomes "cpu" where there is no GPU.
    - INPUT.MIN_SIZE_TEST becomes 0, so that all ways of predicting see the same pixels.
    - MODEL.WEIGHTS that were trained on other classes than the datasets' are told: right to start a
      training from, wrong to predict with.

    `cfg` is changed in place, frozen or not, and returned; a second call changes nothing.

    Raises:
        ValueError: a value is wrong, or datasets, classes and NUM_CLASSES contradict each other.
            The message names the key and the cure.
    """
    frozen = cfg.is_frozen()
    cfg.defrost()
    try:
        add_centernet_config(cfg)
        unify_defaults(cfg)
        check_values(cfg)
        register_datasets(cfg)
        if warning := other_classes_than_saved(set_class_names(cfg), cfg.MODEL.WEIGHTS):
            _say_once(warning)
        if warning := set_joints(cfg):
            _say_once(warning)
        choose_device(cfg)
        leave_resizing_to_the_model(cfg)
    finally:
        if frozen:
            cfg.freeze()
    return cfg


def register_datasets(cfg: CfgNode) -> None:
    """Register the datasets that `cfg` gives as files; see `setup`."""
    for spec in cfg.DATASETS.FROM_FILES:
        try:
            register_from_files(spec)
        except (ValueError, OSError) as error:  # a saved config on a machine without the data
            _say_once(f"Dataset of DATASETS.FROM_FILES is not here: {error}")
    for key in ("TRAIN", "TEST"):
        cfg.DATASETS[key] = tuple(_registered(cfg, name) for name in cfg.DATASETS[key])
        allow_missing_frames(cfg.DATASETS[key], cfg.KITTI.ALLOW_MISSING)


def _registered(cfg: CfgNode, name: str) -> str:
    if not is_file_spec(name):
        return name
    short = register_from_files(name)
    absolute = MetadataCatalog.get(short).file_spec
    if absolute not in cfg.DATASETS.FROM_FILES:
        cfg.DATASETS.FROM_FILES = [*cfg.DATASETS.FROM_FILES, absolute]
    return short


def choose_device(cfg: CfgNode) -> None:
    """Set MODEL.DEVICE to "cpu" where it names a GPU that torch cannot use."""
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        _say_once(f"MODEL.DEVICE is '{cfg.MODEL.DEVICE}', but torch sees no GPU: using 'cpu'.")
        cfg.MODEL.DEVICE = "cpu"


def leave_resizing_to_the_model(cfg: CfgNode) -> None:
    """Set INPUT.MIN_SIZE_TEST to 0, so that detectron2's predictor hands over original pixels."""
    if cfg.INPUT.MIN_SIZE_TEST:
        _say_once(
            f"INPUT.MIN_SIZE_TEST is {cfg.INPUT.MIN_SIZE_TEST}: using 0, since the model brings "
            "images into its own frame (TEST.RESOLUTION)."
        )
        cfg.INPUT.MIN_SIZE_TEST = 0


def _say_once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        logger.warning(message)
