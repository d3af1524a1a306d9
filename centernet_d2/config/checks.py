"""The door of the config: every value is checked once, by one table of key and rule.

The table has this package's keys (`KEYS`), the keys of detectron2 that are read here
(`DETECTRON2_RULES`) and those that nothing here reads (`UNREAD`), with the key to use instead.
"""

import difflib
import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from detectron2.config import CfgNode, get_cfg

from ..checked_values import Rule, flag, listed, number, one_of, optional, text, weight, whole, word
from . import KEYS, flattened, value_of
from .rules import device

PACKAGE = __name__.partition(".")[0]
PIXELS = "3 values, of blue, green and red"
NEVER_SCALED = (
    "0: it would scale by the number of processes what SOLVER.BASE_BATCH_SIZE and SOLVER.EPOCHS "
    "scale by the batch already"
)


def _all(rule: Rule, *keys: str) -> dict[str, Rule]:
    return dict.fromkeys(keys, rule)


# Keys of detectron2 that are read here.
DETECTRON2_RULES: dict[str, Rule] = {
    **_all(word, "MODEL.META_ARCHITECTURE", "MODEL.BACKBONE.NAME", "OUTPUT_DIR"),
    "MODEL.DEVICE": device,
    "MODEL.WEIGHTS": text,
    **_all(listed(word), "DATASETS.TRAIN", "DATASETS.TEST"),
    **_all(whole(), "MODEL.BACKBONE.FREEZE_AT", "INPUT.MIN_SIZE_TEST", "DATALOADER.NUM_WORKERS"),
    **_all(whole(), "SOLVER.MAX_ITER", "SOLVER.WARMUP_ITERS", "SOLVER.CHECKPOINT_PERIOD"),
    **_all(whole(), "TEST.EVAL_PERIOD", "TEST.DETECTIONS_PER_IMAGE", "VIS_PERIOD"),
    **_all(weight, "SOLVER.BASE_LR", "SOLVER.GAMMA", "SOLVER.WARMUP_FACTOR", "SOLVER.MOMENTUM"),
    **_all(weight, "SOLVER.WEIGHT_DECAY"),
    **_all(optional(weight), "SOLVER.WEIGHT_DECAY_NORM", "SOLVER.WEIGHT_DECAY_BIAS"),
    **_all(optional(weight), "SOLVER.BIAS_LR_FACTOR"),
    **_all(flag, "DATALOADER.FILTER_EMPTY_ANNOTATIONS", "SOLVER.NESTEROV", "SOLVER.AMP.ENABLED"),
    **_all(flag, "SOLVER.CLIP_GRADIENTS.ENABLED"),
    "MODEL.PIXEL_MEAN": Rule(PIXELS, listed(number(), count=3).accepts),
    "MODEL.PIXEL_STD": Rule(
        f"{PIXELS}, each more than 0", listed(number(above=0), count=3).accepts
    ),
    "INPUT.FORMAT": one_of("BGR"),  # images are read, augmented and normalised in this order
    # The exact resume knows one order, and a moving average (SOLVER.EMA_DECAY) of the statistics.
    "DATALOADER.SAMPLER_TRAIN": one_of("TrainingSampler"),
    "TEST.PRECISE_BN.ENABLED": one_of(False),
    "SOLVER.REFERENCE_WORLD_SIZE": Rule(NEVER_SCALED, one_of(0).accepts),
    "SOLVER.IMS_PER_BATCH": whole(1),
    "SOLVER.WARMUP_METHOD": one_of("linear", "constant"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": one_of("value", "norm", "full_model"),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": number(above=0),
    "SOLVER.STEPS": listed(whole()),
    "TEST.KEYPOINT_OKS_SIGMAS": listed(number(above=0)),
    "SEED": whole(-1, 2**31),  # ranks and seeds are added to it, and numpy takes 32 bits
}
RULES = {name: key.rule for name, key in KEYS.items()} | DETECTRON2_RULES
_CROP = "INPUT.TRAIN_SIZE and INPUT.CENTER_CROP set the training crop"
_R_CNN = (
    "it belongs to detectron2's own detectors; those here are set by MODEL.HEATMAP and "
    "MODEL.POINTS_CENTERNET, CORNERNET or TRIPLET_CENTERNET"
)
_TASKS = "MODEL.POINTS_CENTERNET.TASKS says what is detected"
# Keys of detectron2 that nothing here reads -> what to use instead.
UNREAD = {
    "INPUT.RANDOM_FLIP": "use INPUT.FLIP_PROBABILITY",
    "INPUT.CROP.*": _CROP,
    "INPUT.*_SIZE_TRAIN*": _CROP,
    "INPUT.MASK_FORMAT": "no detector here learns masks",
    "MODEL.MASK_ON": "no detector here finds masks",
    "MODEL.KEYPOINT_ON": f"{_TASKS}: ['box2d', 'pose'] for joints",
    "MODEL.RETINANET.NUM_CLASSES": "use MODEL.HEATMAP.NUM_CLASSES",
    "MODEL.RETINANET.*": _R_CNN,
    "MODEL.ROI_*": _R_CNN,
    "MODEL.RPN.*": _R_CNN,
    "MODEL.ANCHOR_GENERATOR.*": "StackedRetinaNet alone has anchors",
    "*PROPOSAL*": "no detector here takes proposals",
    "MODEL.SEM_SEG_HEAD.*": "no detector here segments",
    "MODEL.PANOPTIC_FPN.*": "no detector here segments",
    "DATALOADER.ASPECT_RATIO_GROUPING": (
        "training crops have one size, INPUT.TRAIN_SIZE; set it to False"
    ),
    "DATALOADER.REPEAT_*": "DATALOADER.SAMPLER_TRAIN is TrainingSampler",
    "TEST.AUG.*": "use TEST.FLIP and TEST.SCALES",
}
RESNET_AND_FPN = ("MODEL.RESNETS.*", "MODEL.FPN.*")


def check_config(cfg: CfgNode) -> None:
    """Raise ValueError for the first value that this package cannot use, with what is allowed.

    So is a key of detectron2 refused that is not at its default and that nothing reads, where
    MODEL.META_ARCHITECTURE is a detector of this package or derives from one.
    """
    check_values(cfg)
    _check_registered(cfg)
    # As JSON, in which tuples are lists: a file has no tuples.
    given, defaults = (
        {key: json.dumps(value, default=repr) for key, value in flattened(each).items()}
        for each in (cfg, get_cfg())
    )
    refuse_unread(cfg, {key: "" for key in defaults if given.get(key) != defaults[key]})


def check_values(cfg: CfgNode, groups: tuple[str, ...] = ("",)) -> None:
    """Raise ValueError for the first wrong value among the keys that begin as `groups` say."""
    for key, rule in RULES.items():
        if key.startswith(groups) and not rule.accepts(value_of(cfg, key)):
            raise ValueError(wrong_value(key, value_of(cfg, key)))


def wrong_value(key: str, value: Any) -> str:
    """Return the error for a value that `RULES[key]` does not allow."""
    return f"{key} is {value!r}; it must be {RULES[key].says}."


def refuse_unread(cfg: CfgNode, given: Mapping[str, str]) -> None:
    """Raise ValueError for a key that is set by hand and that nothing reads; see `check_config`.

    `given` is dotted key -> what has set it, before the message, such as "a.yaml: ".
    """
    detector = _registered("META_ARCH").get(cfg.MODEL.META_ARCHITECTURE)
    if not _defined_in(detector, PACKAGE):
        return
    reads = getattr(detector, "reads", ())
    unread = UNREAD | _unread_of_backbones(cfg)
    values = flattened(cfg)
    for key, source in given.items():
        value = values.get(key)
        flips = key == "INPUT.RANDOM_FLIP" and cfg.INPUT.FLIP_PROBABILITY > 0
        if not value or (value == "none" and not flips):  # which is the case anyway
            continue
        if key not in UNREAD and any(fnmatchcase(key, pattern) for pattern in reads):
            continue
        for pattern, instead in unread.items():
            if fnmatchcase(key, pattern):
                raise ValueError(
                    f"{source}{key} is {value!r}, and nothing that "
                    f"{cfg.MODEL.META_ARCHITECTURE} needs reads this key: {instead}."
                )


def _unread_of_backbones(cfg: CfgNode) -> dict[str, str]:
    """MODEL.RESNETS and FPN, as far as MODEL.BACKBONE.NAME does not read them."""
    name = cfg.MODEL.BACKBONE.NAME
    build = _registered("BACKBONE").get(name)
    if "fpn" in name or not _defined_in(build, PACKAGE, "detectron2"):
        return {}
    instead = f"the backbone is {name}, with a block of its own in MODEL"
    patterns: tuple[str, ...] = RESNET_AND_FPN if _defined_in(build, PACKAGE) else ("MODEL.FPN.*",)
    if "hourglass" not in name:  # else memory would stay as it is without a word
        patterns += ("MODEL.HOURGLASS.RECOMPUTE",)
    return dict.fromkeys(patterns, instead)


def _check_registered(cfg: CfgNode) -> None:
    registries = {"MODEL.META_ARCHITECTURE": "META_ARCH", "MODEL.BACKBONE.NAME": "BACKBONE"}
    for key, registry in registries.items():
        name = value_of(cfg, key)
        if name not in (known := _registered(registry)):
            near = difflib.get_close_matches(name, known, 3, 0.4) or sorted(known)
            raise ValueError(
                f"{key} is {name!r}; it must be a registered name, such as "
                f"{', '.join(map(repr, near))}. Import the module that registers yours first."
            )


def _registered(kind: str) -> dict[str, Any]:
    from detectron2 import modeling

    return dict(iter(getattr(modeling, f"{kind}_REGISTRY")))


def _defined_in(thing: Any, *packages: str) -> bool:
    """Whether a class derives from one of these packages, or a function is of one; None is not."""
    origins = [each.__module__ for each in getattr(thing, "__mro__", (thing,)) if each is not None]
    return any(origin.partition(".")[0] in packages for origin in origins)
