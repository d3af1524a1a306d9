"""From the keys of a published file to its source, architecture, and the config that fits it.

Nothing but names and shapes is looked at. A file that is not recognised is an error with a name for
what it looks like, because half-loaded weights run and give poor results.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from . import extremenet, mmdetection
from .imagenet import IMAGENET_DLA, IMAGENET_RESNET
from .points_repository import TABLES
from .rename import SHOWN_KEYS, RenameTable

State = Mapping[str, Tensor]
Overrides = dict[str, Any]

POINTS = "the points repository"
MMDETECTION = "mmdetection"
EXTREMENET = "ExtremeNet"
IMAGENET = "ImageNet classification"

# (bottleneck?, blocks of layer1 to layer4) -> depth
RESNET_DEPTHS = {
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
    (True, (3, 8, 36, 3)): 152,
}

# Heads of the points repository's other tasks -> what they are.
OTHER_TASKS = {"hps": "human poses", "dep": "3-D boxes", "hm_t": "extreme points"}


class UnknownWeightsError(ValueError):
    """The keys of a file fit no table."""


@dataclass(frozen=True)
class Recognised:
    """What a published file is.

    Attributes:
        source: who published files of this form.
        architecture: the source's own name, e.g. "resdcn_18".
        task: "box2d", or "start" for weights that only initialise a part of a detector.
        num_classes: of the heatmap; None where there is none.
        table: how the keys are renamed.
        model: config keys and values that build the matching model.
        as_bgr: the network reads R, G, B images and has to be turned.
    """

    source: str
    architecture: str
    task: str
    num_classes: int | None
    table: RenameTable
    model: Overrides
    as_bgr: bool = False

    def describe(self) -> str:
        """One phrase for messages."""
        if self.task == "start":
            return f"{self.architecture} of {self.source} (a start for training, no detector)"
        return f"{self.architecture} of {self.source}, {self.task}, {self.num_classes} classes"


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
        f"these weights are not recognised: {_looks_like(state)}. Known are box detectors of "
        f"{POINTS} (res, resdcn, dla, dlav0, hourglass) and of {MMDETECTION} "
        f"(centernet_resnet18), {EXTREMENET}'s hourglass, and ImageNet weights of ResNets and "
        f"DLA-34. First keys: {', '.join(list(state)[:5])}"
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
    table = TABLES[family, "box2d"]
    return Recognised(
        source=POINTS,
        architecture=architecture,
        task="box2d",
        num_classes=_channels(state, "hm"),
        table=table,
        model=model | _heads(state, hidden="hm", size="wh") | _POINTS_STARTS[family],
    )


def _mmdetection(state: State) -> Recognised | None:
    heads = "bbox_head.heatmap_head.2.weight"
    if heads not in state or "neck.deconv_layers.0.conv.weight" not in state:
        return None
    deform = any("offset" in key for key in state if key.startswith("neck."))
    trunk = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    depth = _resnet_depth(trunk)
    return Recognised(
        source=MMDETECTION,
        architecture=f"centernet_resnet{depth}{'_dcnv2' if deform else ''}",
        task="box2d",
        num_classes=state[heads].shape[0],
        table=mmdetection.RESNET_BOX2D,
        model=_resnet(depth, "deform" if deform else "conv")
        | _heads(state, hidden="bbox_head.heatmap_head", size="bbox_head.wh_head")
        | _POINTS_STARTS["resdcn"],
        as_bgr=True,
    )


def _extremenet(state: State) -> Recognised | None:
    if "t_heats.0.1.weight" not in state and "hm_t.0.1.weight" not in state:
        return None
    _, architecture, model = _hourglass(state)
    return Recognised(EXTREMENET, architecture, "start", None, extremenet.TRUNK, model)


def _imagenet(state: State) -> Recognised | None:
    if "fc.weight" not in state or len(state["fc.weight"].shape) not in (2, 4):
        return None
    if "conv1.weight" in state and "layer4.0.conv1.weight" in state:
        depth = _resnet_depth(state)
        model = _resnet(depth, "deform")
        return Recognised(IMAGENET, f"resnet{depth}", "start", None, IMAGENET_RESNET, model)
    if "base_layer.0.weight" in state and "level5.root.conv.weight" in state:
        return Recognised(IMAGENET, "dla34", "start", None, IMAGENET_DLA, _dla_keys("deform"))
    return None


_RECOGNISERS: tuple[Callable[[State], Recognised | None], ...] = (
    _extremenet,
    _points,
    _mmdetection,
    _imagenet,
)


# --------------------------------------------------------------------------------------- backbones
def _resnet(depth: int, upsample: str) -> Overrides:
    return {
        "MODEL.BACKBONE.NAME": "build_resnet_deconv_backbone",
        "MODEL.RESNET_DECONV.DEPTH": depth,
        "MODEL.RESNET_DECONV.UPSAMPLE": upsample,
        "MODEL.HEATMAP.IN_FEATURES": ["deconv"],
    }


def _resnet_depth(state: State) -> int:
    blocks = tuple(_count(state, rf"layer{layer}\.(\d+)\.conv1\.weight") for layer in range(1, 5))
    kind = ("layer1.0.conv3.weight" in state, blocks)
    if kind not in RESNET_DEPTHS:
        raise UnknownWeightsError(
            f"these weights are a ResNet with {blocks} blocks, which is no known depth"
        )
    return RESNET_DEPTHS[kind]


def _points_resnet(state: State) -> tuple[str, str, Overrides]:
    deform = "deconv_layers.0.conv_offset_mask.weight" in state
    family = "resdcn" if deform else "res"
    depth = _resnet_depth(state)
    return family, f"{family}_{depth}", _resnet(depth, "deform" if deform else "plain")


def _dla_keys(upsample: str) -> Overrides:
    return {
        "MODEL.BACKBONE.NAME": "build_dla_backbone",
        "MODEL.DLA.UPSAMPLE": upsample,
        "MODEL.HEATMAP.IN_FEATURES": ["dla_up"],
    }


def _dla(state: State) -> tuple[str, str, Overrides]:
    deform = "ida_up.up_1.weight" in state
    family = "dla" if deform else "dlav0"
    return family, f"{family}_34", _dla_keys("deform" if deform else "plain")


def _hourglass(state: State) -> tuple[str, str, Overrides]:
    stacks = _count(state, r"kps\.(\d+)\.up1\.0\.conv1\.weight")
    channels, blocks, prefix = [], [], "kps.0."
    while f"{prefix}up1.0.conv1.weight" in state:
        channels.append(state[f"{prefix}up1.0.conv1.weight"].shape[0])
        blocks.append(_count(state, rf"{re.escape(prefix)}up1\.(\d+)\.conv1\.weight"))
        prefix += "low2."
    channels.append(state[f"{prefix}0.conv1.weight"].shape[0])
    blocks.append(_count(state, rf"{re.escape(prefix)}(\d+)\.conv1\.weight"))
    stem = state["pre.0.conv.weight"].shape
    keys = {
        "MODEL.BACKBONE.NAME": "build_hourglass_backbone",
        "MODEL.HOURGLASS.STACKS": stacks,
        "MODEL.HOURGLASS.CHANNELS": channels,
        "MODEL.HOURGLASS.BLOCKS": blocks,
        "MODEL.HOURGLASS.STEM_CHANNELS": stem[0],
        "MODEL.HOURGLASS.STEM_KERNEL": stem[2],
        "MODEL.HOURGLASS.OUT_CHANNELS": state["cnvs.0.conv.weight"].shape[0],
        "MODEL.HEATMAP.IN_FEATURES": [f"stack{stack + 1}" for stack in range(stacks)],
    }
    return "hourglass", f"hourglass, {stacks} stack{'s' * (stacks > 1)}", keys


_POINTS_BACKBONES = {
    "deconv_layers.0.weight": _points_resnet,
    "base.base_layer.0.weight": _dla,
    "kps.0.up1.0.conv1.weight": _hourglass,
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


def _count(state: State, pattern: str) -> int:
    return len({match[1] for key in state if (match := re.fullmatch(pattern, key))})


def _looks_like(state: State) -> str:
    """A name for weights without a table."""
    for pattern, name in (
        (r"(.*\.)?(tl|br)_heats?\..*", "a corner detector (CornerNet or triplet CenterNet)"),
        (r"(proposal_generator|roi_heads)\..*", "a two-stage detector of detectron2"),
        (r"bbox_head\..*", "another detector of mmdetection"),
        (r"(backbone\.(?!conv1).*|head\..*)", "a model of this package or of detectron2"),
        (r"(conv1|layer1)\..*", "a part of a ResNet"),
        (r"(base|ida_up|dla_up)\..*", "a part of DLA"),
    ):
        if any(re.fullmatch(pattern, key) for key in state):
            return f"they look like {name}"
    return f"they look like nothing known, {min(len(state), SHOWN_KEYS)} or more unknown keys"
