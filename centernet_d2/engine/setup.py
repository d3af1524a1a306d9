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
from ..detectron2_versions import merge_config_file, unify_defaults
from .class_names import set_class_names
from .optimizer import OPTIMIZERS
from .step_loop import AMP_DTYPES

logger = logging.getLogger(__name__)
_said: set[str] = set()

# Key -> the values that it may have.
_CHOICES = {
    "SOLVER.OPTIMIZER": tuple(OPTIMIZERS),
    "SOLVER.AMP_DTYPE": tuple(AMP_DTYPES),
    "MODEL.CHECKPOINT_MISMATCH": ("fail", "report"),
    # The exact resume knows one order, and a moving average (SOLVER.EMA_DECAY) of the statistics.
    "DATALOADER.SAMPLER_TRAIN": ("TrainingSampler",),
    "TEST.PRECISE_BN.ENABLED": (False,),
}


def load_config(path: str = "", overrides: Sequence[str] = ()) -> CfgNode:
    """Build a config: defaults, this package's keys, the file at `path`, then `overrides`.

    A config.yaml that another detectron2 version saved is taken too. An override of SOLVER.MAX_ITER
    sets SOLVER.EPOCHS to 0, since it would otherwise have no effect. DATASETS.TRAIN and TEST may
    be one name instead of a tuple.

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
    if "SOLVER.MAX_ITER" in overrides[::2] and "SOLVER.EPOCHS" not in overrides[::2]:
        cfg.SOLVER.EPOCHS = 0
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
      dataset, of the checkpoint MODEL.WEIGHTS.
    - MODEL.DEVICE becomes "cpu" where there is no GPU.

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
        set_class_names(cfg)
        choose_device(cfg)
    finally:
        if frozen:
            cfg.freeze()
    return cfg


def check_values(cfg: CfgNode) -> None:
    """Raise ValueError for a value that this package's engine cannot use."""
    for key, choices in _CHOICES.items():
        value: Any = cfg
        for part in key.split("."):
            value = value[part]
        if value not in choices:
            raise ValueError(
                f"{key} is {value!r}; it must be one of {', '.join(map(repr, choices))}."
            )
    if not 0.0 <= cfg.SOLVER.EMA_DECAY < 1.0:
        raise ValueError(
            f"SOLVER.EMA_DECAY is {cfg.SOLVER.EMA_DECAY}; set it in [0, 1), 0 for off."
        )
    if cfg.SOLVER.REFERENCE_WORLD_SIZE:
        raise ValueError(
            "SOLVER.REFERENCE_WORLD_SIZE must be 0: it would scale by the number of processes what "
            "SOLVER.BASE_BATCH_SIZE and SOLVER.EPOCHS scale by the batch already."
        )
    for key, value in (
        ("SOLVER.IMS_PER_BATCH", cfg.SOLVER.IMS_PER_BATCH),
        ("TEST.IMS_PER_BATCH", cfg.TEST.IMS_PER_BATCH),
    ):
        if value < 1:
            raise ValueError(f"{key} is {value}; it must be 1 or more.")


def register_datasets(cfg: CfgNode) -> None:
    """Register the datasets that `cfg` gives as files; see `setup`."""
    for spec in cfg.DATASETS.FROM_FILES:
        try:
            register_from_files(spec)
        except (ValueError, OSError) as error:  # a saved config on a machine without the data
            _say_once(f"Dataset of DATASETS.FROM_FILES is not here: {error}")
    for key in ("TRAIN", "TEST"):
        cfg.DATASETS[key] = tuple(_registered(cfg, name) for name in cfg.DATASETS[key])


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


def _say_once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        logger.warning(message)
