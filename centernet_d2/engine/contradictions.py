"""Where a config contradicts the one that its weights carry: what they see, and what they mean."""

import json
import logging
from fnmatch import fnmatchcase
from typing import Any

from detectron2.config import CfgNode

from ..checkpoint.model_info import ModelInfo
from ..config import flattened
from ..config.protocols import PROTOCOLS, without_effect
from ..progress import tell_once
from .setup import BY_HAND, FROM_WEIGHTS

logger = logging.getLogger(__name__)

Pairs = dict[str, tuple[Any, Any]]

# Keys, as patterns, with which weights see or mean something: frame, pixels, network, decoding.
MEANING = (
    *("MODEL.*", "INPUT.FORMAT", "INPUT.EXIF_ORIENTATION", "TEST.PROTOCOL", "TEST.SOFT_NMS.*"),
    *("TEST.RESOLUTION", "TEST.FIXED_*", "TEST.CANVAS", "TEST.DETECTIONS_PER_IMAGE"),
    *("TEST.CLIP_BOXES", "TEST.DROP_EMPTY"),
)
# Of these what only a training or a machine needs, or what is compared by itself: what a flip
# exchanges.
ELSEWHERE = (
    *("MODEL.WEIGHTS", "MODEL.DEVICE", "MODEL.CHECKPOINT_MISMATCH", "MODEL.BACKBONE.FREEZE_AT"),
    *("*.FLIP_INDICES", "*.CHANNELS_LAST", "*.RECOMPUTE"),
    *("*_INIT", "*.PRIOR_BIAS", "*_WEIGHT", "*_LOSS", "*NORMALIZER", "*_REDUCTION", "*.FOCAL_*"),
    *("*.RADIUS_*", "*.FIXED_RADIUS", "*.MIN_OVERLAP", "*.CENTER_SIGMA_DIVISOR", "*.SIGMA_RULE"),
    *("*.IGNORED_REGION", "*.REGRESS_UNLABELLED"),
)
BACKBONES = ("RESNET_DECONV", "DLA", "HOURGLASS", "TIMM", "ENCODER_DECODER")
TASKS = ("BOX2D", "POSE", "BOX3D")


def tell_contradictions(cfg: CfgNode, saved: ModelInfo, found: Pairs) -> None:
    """Warn, once, of what `differing` has found, of what was set by hand in the log alone.

    By hand is what was an override, or was changed in a config that the weights gave.
    """
    by_hand = getattr(cfg, BY_HAND, frozenset())
    if getattr(cfg, FROM_WEIGHTS, None) == cfg.MODEL.WEIGHTS:
        by_hand = found.keys()
    if chosen := {key: pair for key, pair in found.items() if key in by_hand}:
        logger.info("Set by hand, own value of '%s' first:%s", saved.source, listed(chosen))
    if others := {key: pair for key, pair in found.items() if key not in by_hand}:
        tell_once(
            f"'{saved.source}' was trained with another config than is used here: its detections "
            f"may be wrong or missing. Its own value -> the one used:{listed(others)}\nTo use its "
            "own config leave --config-file out, or call centernet_d2.Predictor(file)."
        )


def listed(found: Pairs) -> str:
    """Return a line for each key."""
    return "".join(f"\n  {key}: {own!r} -> {used!r}" for key, (own, used) in found.items())


def differing(cfg: CfgNode, saved: ModelInfo) -> Pairs:
    """Compare `cfg`, after `setup`, with the config that its weights carry, if they do.

    Returns:
        Keys of `MEANING` that `cfg` uses and whose values differ -> the weights' own, that of
        `cfg`.
    """
    if not saved.config or saved.is_lazy:
        return {}
    theirs, ours = saved.config_values(), flattened(cfg)
    found = {
        key: (theirs[key], value)
        for key, value in ours.items()
        if any(fnmatchcase(key, pattern) for pattern in MEANING)
        and not any(fnmatchcase(key, pattern) for pattern in ELSEWHERE)
        and key in theirs
        and json.dumps(theirs[key]) != json.dumps(value)  # in which tuples are lists
    }
    unused = _unused(cfg)
    if "TEST.PROTOCOL" in found:  # which says them all
        unused += tuple(PROTOCOLS["clean"])
    return {key: pair for key, pair in found.items() if not key.startswith(unused)}


def _unused(cfg: CfgNode) -> tuple[str, ...]:
    """How keys begin that nothing reads with this detector, backbone, tasks and frame."""
    backbone, points = cfg.MODEL.BACKBONE.NAME, cfg.MODEL.POINTS_CENTERNET
    return (
        *without_effect(cfg),
        *(f"MODEL.{name}." for name in BACKBONES if name.lower() not in backbone),
        *(f"MODEL.POINTS_CENTERNET.{n}." for n in TASKS if n.lower() not in points.TASKS),
        "TEST.FIXED_" if cfg.TEST.RESOLUTION == "keep_res" else "TEST.CANVAS",
    )
