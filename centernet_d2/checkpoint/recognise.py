"""From the keys of a published file to its source, architecture, and the config that fits it.

Nothing but names and shapes is looked at. A file that is not recognised is an error with a name for
what it looks like, because half-loaded weights run and give poor results.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor

from . import extremenet, mmdetection, recognise_corners
from .architectures import (
    dla_keys,
    hourglass,
    points_dla,
    points_resnet,
    resnet_depth,
    resnet_keys,
)
from .imagenet import IMAGENET_DLA, IMAGENET_RESNET
from .points_repository import TABLES
from .recognised import (
    EXTREMENET,
    IMAGENET,
    MMDETECTION,
    POINTS,
    Overrides,
    Recognised,
    State,
    UnknownWeightsError,
)
from .rename import SHOWN_KEYS

__all__ = ["Recognised", "UnknownWeightsError", "recognise"]

# Heads of the points repository's other tasks -> what they are.
OTHER_TASKS = {"hm_t": "extreme points"}


NUM_JOINTS = "MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS"
# Of COCO's 17 joints: the nose, then left and right of each.
COCO_FLIP = [0, *(joint for left in range(1, 17, 2) for joint in (left + 1, left))]


def recognise(state: State) -> Recognised:
    """Recognise a published state dict (wrapper prefixes removed, see `published_state_dict`).

    Raises:
        UnknownWeightsError: no known source, or a task without a table; the message says what the
            keys look like.
    """
    for recogniser in _RECOGNISERS:
        if found := recogniser(state):
            return found
    raise UnknownWeightsError(
        f"these weights are not recognised: {_looks_like(state)}. Known are detectors of boxes, "
        f"poses and 3-D boxes of {POINTS} (res, resdcn, dla, dlav0, hourglass), of boxes of "
        f"{MMDETECTION} (centernet_resnet18, cornernet), the authors' CornerNet and triplet "
        f"CenterNet, {EXTREMENET}'s hourglass, and ImageNet weights of ResNets and DLA-34. "
        f"First keys: {', '.join(list(state)[:5])}"
    )


# ----------------------------------------------------------------------------------------- sources
def _points(state: State) -> Recognised | None:
    builder = next((build for marker, build in _POINTS_BACKBONES.items() if marker in state), None)
    if builder is None or not _is_head(state, "hm") or "hm_t.0.1.weight" in state:
        return None
    family, architecture, model = builder(state)
    for head, task in OTHER_TASKS.items():
        if _is_head(state, head):
            raise UnknownWeightsError(
                f"these weights are {architecture} of {POINTS} for {task}: no table for that task"
            )
    task = next((task for head, task in MARKERS.items() if _is_head(state, head)), "box2d")
    keys = TASK_KEYS[task](state) if task in TASK_KEYS else {}
    return Recognised(
        source=POINTS,
        architecture=architecture,
        task=task,
        num_classes=_channels(state, "hm"),
        table=TABLES[family, task],
        model=model | _heads(state, hidden="hm", size="wh") | keys | _POINTS_STARTS[family],
        num_joints=keys.get(NUM_JOINTS, 0),
    )


def _mmdetection(state: State) -> Recognised | None:
    heads = "bbox_head.heatmap_head.2.weight"
    if heads not in state or "neck.deconv_layers.0.conv.weight" not in state:
        return None
    deform = any("offset" in key for key in state if key.startswith("neck."))
    trunk = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    depth = resnet_depth(trunk)
    return Recognised(
        source=MMDETECTION,
        architecture=f"centernet_resnet{depth}{'_dcnv2' if deform else ''}",
        task="box2d",
        num_classes=state[heads].shape[0],
        table=mmdetection.RESNET_BOX2D,
        model=resnet_keys(depth, "deform" if deform else "conv")
        | _heads(state, hidden="bbox_head.heatmap_head", size="bbox_head.wh_head")
        | _POINTS_STARTS["resdcn"],
        as_bgr=True,
    )


def _extremenet(state: State) -> Recognised | None:
    if "t_heats.0.1.weight" not in state and "hm_t.0.1.weight" not in state:
        return None
    _, architecture, model = hourglass(state)
    return Recognised(EXTREMENET, architecture, "start", None, extremenet.TRUNK, model)


def _imagenet(state: State) -> Recognised | None:
    if "fc.weight" not in state or len(state["fc.weight"].shape) not in (2, 4):
        return None
    if "conv1.weight" in state and "layer4.0.conv1.weight" in state:
        depth = resnet_depth(state)
        model = resnet_keys(depth, "deform")
        return Recognised(IMAGENET, f"resnet{depth}", "start", None, IMAGENET_RESNET, model)
    if "base_layer.0.weight" in state and "level5.root.conv.weight" in state:
        return Recognised(IMAGENET, "dla34", "start", None, IMAGENET_DLA, dla_keys("deform"))
    return None


_RECOGNISERS: tuple[Callable[[State], Recognised | None], ...] = (
    _extremenet,
    recognise_corners.published,
    recognise_corners.of_mmdetection,
    _points,
    _mmdetection,
    _imagenet,
)


_POINTS_BACKBONES = {
    "deconv_layers.0.weight": points_resnet,
    "base.base_layer.0.weight": points_dla,
    "kps.0.up1.0.conv1.weight": hourglass,
}

# How the published code starts the regression branches of a family.
_POINTS_STARTS: dict[str, Overrides] = {
    family: {"MODEL.POINTS_CENTERNET.REGRESSION_INIT": rule}
    for family, rule in {
        "res": "last_normal",
        "resdcn": "normal",
        "dla": "zero_bias",
        "dlav0": "normal",
        "hourglass": "torch",
    }.items()
}


# ------------------------------------------------------------------------------------------- heads
def _layers(state: State, head: str) -> list[Tensor]:
    """Weights of a head's convolutions, first to last; in an hourglass those of stack 0."""
    names = (
        (f"{head}.0.0.conv.weight", f"{head}.0.1.weight"),
        (f"{head}.0.weight", f"{head}.2.weight"),
        (f"{head}.weight",),
    )
    found = next((group for group in names if group[-1] in state), ())
    return [state[name] for name in found]


def _is_head(state: State, head: str) -> bool:
    return bool(_layers(state, head))


def _channels(state: State, head: str) -> int:
    return _layers(state, head)[-1].shape[0]


def _heads(state: State, *, hidden: str, size: str) -> Overrides:
    layers = _layers(state, hidden)
    keys: Overrides = {
        "MODEL.HEATMAP.NUM_CLASSES": layers[-1].shape[0],
        "MODEL.POINTS_CENTERNET.HEAD_CHANNELS": layers[0].shape[0] if len(layers) > 1 else 0,
    }
    if _is_head(state, size) and _channels(state, size) > 2:  # a width and a height per class
        keys["MODEL.POINTS_CENTERNET.BOX2D.CLASS_SPECIFIC_SIZE"] = True
    return keys


def _joints(state: State) -> Overrides:
    count = _channels(state, "hps") // 2
    pose = "MODEL.POINTS_CENTERNET.POSE"
    keys: Overrides = {
        "MODEL.POINTS_CENTERNET.TASKS": ["box2d", "pose"],
        NUM_JOINTS: count,
        f"{pose}.JOINT_HEATMAP": _is_head(state, "hm_hp"),
        f"{pose}.JOINT_OFFSET": _is_head(state, "hp_offset"),
    }
    # Weights do not say what a flip exchanges; 17 joints are taken for COCO's.
    return keys | ({f"{pose}.FLIP_INDICES": COCO_FLIP} if count == len(COCO_FLIP) else {})


def _boxes3d(state: State) -> Overrides:
    if not _is_head(state, "wh"):
        raise UnknownWeightsError(
            f"these weights are of {POINTS} for 3-D boxes without sizes in the image (its option "
            "--not_reg_bbox): detections of this package have such sizes, and so must the weights"
        )
    return {"MODEL.POINTS_CENTERNET.TASKS": ["box2d", "box3d"]}


MARKERS = {"hps": "pose", "dep": "box3d"}  # head -> the task that it tells
TASK_KEYS = {"pose": _joints, "box3d": _boxes3d}


def _looks_like(state: State) -> str:
    """A name for weights without a table."""
    for pattern, name in (
        (r"(.*\.)?(tl|br)_heats?\..*", "a corner detector of another kind than those known"),
        (r"(proposal_generator|roi_heads)\..*", "a two-stage detector of detectron2"),
        (r"bbox_head\..*", "another detector of mmdetection"),
        (r"(backbone\.(?!conv1).*|head\..*)", "a model of this package or of detectron2"),
        (r"(conv1|layer1)\..*", "a part of a ResNet"),
        (r"(base|ida_up|dla_up)\..*", "a part of DLA"),
    ):
        if any(re.fullmatch(pattern, key) for key in state):
            return f"they look like {name}"
    return f"they look like nothing known, {min(len(state), SHOWN_KEYS)} or more unknown keys"
