"""Values of a config that this package cannot use, each named by its key."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode

from ..data.box3d_transforms import RESOLUTIONS
from ..decoding.joints import SNAPPING
from ..modeling.fast_inference import DTYPES
from ..targets.gaussian import RadiusRule
from ..targets.ignored import IGNORED_REGIONS
from .optimizer import OPTIMIZERS
from .step_loop import AMP_DTYPES

_POINTS = "MODEL.POINTS_CENTERNET"

# Key -> the values that it may have.
CHOICES: dict[str, tuple[Any, ...]] = {
    "SOLVER.OPTIMIZER": tuple(OPTIMIZERS),
    "SOLVER.AMP_DTYPE": tuple(AMP_DTYPES),
    "MODEL.CHECKPOINT_MISMATCH": ("fail", "report"),
    "TEST.DTYPE": tuple(DTYPES),
    "MODEL.HEATMAP.RADIUS_RULE": tuple(rule.value for rule in RadiusRule),
    f"{_POINTS}.IGNORED_REGION": IGNORED_REGIONS,
    f"{_POINTS}.POSE.SNAPPING": SNAPPING,
    f"{_POINTS}.REGRESSION_LOSS": ("l1", "smooth_l1"),
    f"{_POINTS}.REGRESSION_NORMALIZER": ("elements", "objects", "max_objects"),
    # Images are read, augmented and normalised in this order of channels.
    "INPUT.FORMAT": ("BGR",),
    "INPUT.BOX3D.RESOLUTION": RESOLUTIONS,
    # The exact resume knows one order, and a moving average (SOLVER.EMA_DECAY) of the statistics.
    "DATALOADER.SAMPLER_TRAIN": ("TrainingSampler",),
    "TEST.PRECISE_BN.ENABLED": (False,),
}

AT_LEAST_ONE = ("SOLVER.IMS_PER_BATCH", "TEST.IMS_PER_BATCH", "MODEL.HEATMAP.TOP_K")


def check_values(cfg: CfgNode) -> None:
    """Raise ValueError for a value that this package cannot use."""
    for key, choices in CHOICES.items():
        if value_of(cfg, key) not in choices:
            raise ValueError(
                f"{key} is {value_of(cfg, key)!r}; it must be one of "
                f"{', '.join(map(repr, choices))}."
            )
    for key in AT_LEAST_ONE:
        if value_of(cfg, key) < 1:
            raise ValueError(f"{key} is {value_of(cfg, key)}; it must be 1 or more.")
    if not 0.0 <= cfg.SOLVER.EMA_DECAY < 1.0:
        raise ValueError(
            f"SOLVER.EMA_DECAY is {cfg.SOLVER.EMA_DECAY}; set it in [0, 1), 0 for off."
        )
    _check_pixels(cfg)
    _check_keys_of_detectron2(cfg)


def value_of(cfg: CfgNode, key: str) -> Any:
    """Return the value of a dotted key."""
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def _check_pixels(cfg: CfgNode) -> None:
    for key in ("MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD"):
        values = list(value_of(cfg, key))
        if len(values) != 3:
            raise ValueError(f"{key} is {values}; it must be 3 values, of blue, green and red.")
    if not all(value > 0 for value in cfg.MODEL.PIXEL_STD):
        raise ValueError(
            f"MODEL.PIXEL_STD is {list(cfg.MODEL.PIXEL_STD)}; its values must be more than 0."
        )


def _check_keys_of_detectron2(cfg: CfgNode) -> None:
    """Refuse keys of detectron2 that would do nothing here, or a thing twice."""
    if cfg.SOLVER.REFERENCE_WORLD_SIZE:
        raise ValueError(
            "SOLVER.REFERENCE_WORLD_SIZE must be 0: it would scale by the number of processes what "
            "SOLVER.BASE_BATCH_SIZE and SOLVER.EPOCHS scale by the batch already."
        )
    if cfg.TEST.AUG.ENABLED:
        raise ValueError(
            "TEST.AUG.ENABLED must be False: it belongs to detectron2's own detectors and would do "
            "nothing here. The test protocol is set by this package's keys in TEST (RESOLUTION, "
            "FIXED_SIZE, CANVAS, ...; see centernet_d2/config.py)."
        )
