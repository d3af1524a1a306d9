"""TEST.PROTOCOL: one word for all keys that decide how detections are decoded and scored.

"published" is what the authors' code does, its oddities included, so that their weights give their
numbers; "clean" is without the oddities. Keys of size, resolution, views and speed are no part of
either: the name that is printed beside scores tells them.
"""

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode

from . import KEYS, value_of
from .files import Level

KEY = "TEST.PROTOCOL"
_POINTS, _CORNERS, _TRIPLET = (
    f"MODEL.{name}" for name in ("POINTS_CENTERNET", "CORNERNET", "TRIPLET_CENTERNET")
)
SIZE_AS_POINT = f"{_POINTS}.BOX2D.SIZE_AS_POINT"
# Key -> what the published code does, and what is clean. The source stands with each key.
_ODDITIES: dict[str, tuple[Any, Any]] = {
    "TEST.SOFT_NMS.MODE": ("reference", "clean"),
    "TEST.SOFT_NMS.EXTENT": ("inclusive", "continuous"),
    "TEST.ROUND_RESULTS": (2, 0),
    "TEST.VOC.FILE_OFFSET": ("all", "left_top"),
    "TEST.VOC.ROUND": (True, False),
    "TEST.KITTI.ROUND_RESULTS": (2, 0),
    SIZE_AS_POINT: (True, False),  # published of detectors of 3-D boxes alone
    f"{_CORNERS}.FLIP_CONVENTION": ("edge", "pixel"),
    f"{_TRIPLET}.CENTER_CHOICE": ("first", "best"),
}
# Of these the default is the published value, and none is an oddity.
_AS_DEFAULT = (
    *("TEST.CLIP_BOXES", "TEST.DROP_EMPTY"),
    *(f"TEST.SOFT_NMS.{name}" for name in ("METHOD", "SIGMA", "SCORE_FLOOR")),
    *(f"{_POINTS}.BOX2D.NMS", f"{_POINTS}.POSE.SNAPPING", f"{_POINTS}.POSE.SNAP_DISTANCE"),
    *(f"{_POINTS}.POSE.CANDIDATES", f"{_POINTS}.POSE.CANDIDATE_SCORE"),
    *(f"{_CORNERS}.EMBEDDING_THRESHOLD", f"{_CORNERS}.MAX_PAIRS"),
    *(f"{_CORNERS}.MERGE_BOXES", f"{_CORNERS}.MERGE_EXPONENT"),
    *(f"{_TRIPLET}.{name}" for name in ("REGION_SIDE", "REGION_PARTS", "CENTER_SCALES")),
)
PROTOCOLS: dict[str, dict[str, Any]] = {
    "": {},
    "published": {key: values[0] for key, values in _ODDITIES.items()}
    | {key: KEYS[key].default for key in _AS_DEFAULT},
    "clean": {key: values[1] for key, values in _ODDITIES.items()},
}
# Of the blocks that anchors share with points, what only points have.
_NOT_OF_ANCHORS = {key for key in KEYS if key.startswith(("MODEL.HEATMAP.", f"{_CORNERS}."))} - {
    *(f"MODEL.HEATMAP.{name}" for name in ("NUM_CLASSES", "IN_FEATURES", "CHANNELS_LAST")),
    f"{_CORNERS}.STACK_REDUCTION",
}
CANVASES = {  # published, as the detectors' `published_canvas`
    "PointsCenterNet": "strict",
    **dict.fromkeys(("CornerNet", "TripletCenterNet", "StackedRetinaNet"), "odd"),
}


def protocol_values(cfg: CfgNode) -> dict[str, Any]:
    """Keys that TEST.PROTOCOL decides for the detector of `cfg` -> their values."""
    values = dict(PROTOCOLS.get(cfg.TEST.PROTOCOL, {}))  # another word is refused by its rule
    if cfg.TEST.PROTOCOL == "published":
        values[SIZE_AS_POINT] = "box3d" in cfg.MODEL.POINTS_CENTERNET.TASKS
        if canvas := CANVASES.get(cfg.MODEL.META_ARCHITECTURE):
            values["TEST.CANVAS"] = canvas
    return values


def departures(cfg: CfgNode) -> dict[str, tuple[Any, Any]]:
    """Keys that are not as TEST.PROTOCOL has them -> their value, and that of the protocol."""
    pairs = {key: (value_of(cfg, key), value) for key, value in protocol_values(cfg).items()}
    return {key: pair for key, pair in pairs.items() if not _same(*pair)}


def apply_protocol(cfg: CfgNode) -> str:
    """Give the keys that TEST.PROTOCOL decides its values, in place; return what changed, or "".

    Keys that only other detectors or data sets read change too, and are not told.

    A key at its default, or at the value of the other protocol, was not chosen against this one.

    Raises:
        ValueError: a key has another value, which contradicts the protocol.
    """
    changed, others = [], without_effect(cfg)
    for key, (given, value) in departures(cfg).items():
        usual = [KEYS[key].default, *(p[key] for p in PROTOCOLS.values() if key in p)]
        if key != "TEST.CANVAS" and not any(_same(given, other) for other in usual):
            raise ValueError(_contradiction(cfg, key, given, value))
        group, _, name = key.rpartition(".")
        value_of(cfg, group)[name] = value
        if not key.startswith(others):
            changed.append(f"{key} {given!r} -> {value!r}")
    return f"{KEY} {cfg.TEST.PROTOCOL!r} sets {', '.join(changed)}." if changed else ""


def without_effect(cfg: CfgNode) -> tuple[str, ...]:
    """How keys begin that the detector of `cfg` and its data sets surely do not read."""
    detectors = {
        "PointsCenterNet": (_CORNERS, _TRIPLET),
        "CornerNet": (_POINTS, _TRIPLET),
        "TripletCenterNet": (_POINTS,),
        "StackedRetinaNet": (_POINTS, _TRIPLET, "TEST.SOFT_NMS", *_NOT_OF_ANCHORS),
    }
    other_data = {
        "coco": ("TEST.VOC", "TEST.KITTI"),
        "voc": ("TEST.KITTI",),
        "kitti": ("TEST.VOC",),
    }
    kinds = {name.partition(":")[0].partition("_")[0] for name in cfg.DATASETS.TEST}
    data = other_data.get(kinds.pop(), ()) if len(kinds) == 1 else ()
    return (*detectors.get(cfg.MODEL.META_ARCHITECTURE, ()), *data)


def check_protocol(cfg: CfgNode) -> None:
    """Raise ValueError where a model is built before `apply_protocol` has set its keys."""
    for key, pair in departures(cfg).items():
        told = _contradiction(cfg, key, *pair)
        raise ValueError(f"{told} centernet_d2.setup(cfg) sets the protocol's keys.")


def refuse_contradictions(cfg: CfgNode, levels: Sequence[Level]) -> None:
    """Raise ValueError for a key in `levels` beside or after TEST.PROTOCOL that contradicts it."""
    last = max((i for i, level in enumerate(levels) if KEY in level.values), default=len(levels))
    sources = {key: level.source for level in levels[last:] for key in level.values}
    for key, pair in departures(cfg).items():
        if key in sources:
            raise ValueError(f"{sources[key]}{_contradiction(cfg, key, *pair)}")


def _contradiction(cfg: CfgNode, key: str, given: Any, value: Any) -> str:
    return (
        f"{key} is {given!r}, but {KEY} {cfg.TEST.PROTOCOL!r} means {value!r}. Make them agree, or "
        f"set {KEY} '' to choose each key by itself."
    )


def _same(first: Any, second: Any) -> bool:
    both_lists = isinstance(first, (list, tuple)) and isinstance(second, (list, tuple))
    return list(first) == list(second) if both_lists else bool(first == second)
