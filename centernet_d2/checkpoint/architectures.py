"""From the keys of a published file to the backbone that they belong to, and its config keys."""

from __future__ import annotations

import re

from .recognised import Overrides, State, UnknownWeightsError

# (bottleneck?, blocks of layer1 to layer4) -> depth
RESNET_DEPTHS = {
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
    (True, (3, 8, 36, 3)): 152,
}


def resnet_keys(depth: int, upsample: str) -> Overrides:
    """Config keys of `ResNetDeconv`."""
    return {
        "MODEL.BACKBONE.NAME": "build_centernet_resnet_deconv_backbone",
        "MODEL.RESNET_DECONV.DEPTH": depth,
        "MODEL.RESNET_DECONV.UPSAMPLE": upsample,
        "MODEL.HEATMAP.IN_FEATURES": ["deconv"],
    }


def resnet_depth(state: State) -> int:
    """Depth of a ResNet, from the number of its blocks."""
    blocks = tuple(count(state, rf"layer{layer}\.(\d+)\.conv1\.weight") for layer in range(1, 5))
    kind = ("layer1.0.conv3.weight" in state, blocks)
    if kind not in RESNET_DEPTHS:
        raise UnknownWeightsError(
            f"these weights are a ResNet with {blocks} blocks, which is no known depth"
        )
    return RESNET_DEPTHS[kind]


def points_resnet(state: State) -> tuple[str, str, Overrides]:
    """Family, architecture and config keys of a ResNet of the points repository."""
    deform = "deconv_layers.0.conv_offset_mask.weight" in state
    family = "resdcn" if deform else "res"
    depth = resnet_depth(state)
    return family, f"{family}_{depth}", resnet_keys(depth, "deform" if deform else "plain")


def dla_keys(upsample: str) -> Overrides:
    """Config keys of DLA-34."""
    return {
        "MODEL.BACKBONE.NAME": "build_centernet_dla_backbone",
        "MODEL.DLA.UPSAMPLE": upsample,
        "MODEL.HEATMAP.IN_FEATURES": ["dla_up"],
    }


def points_dla(state: State) -> tuple[str, str, Overrides]:
    """Family, architecture and config keys of a DLA-34 of the points repository."""
    deform = "ida_up.up_1.weight" in state
    family = "dla" if deform else "dlav0"
    return family, f"{family}_34", dla_keys("deform" if deform else "plain")


def hourglass(state: State) -> tuple[str, str, Overrides]:
    """Family, architecture and config keys of a stacked hourglass, published names."""
    stacks = count(state, r"kps\.(\d+)\.up1\.0\.conv1\.weight")
    channels, blocks, prefix = [], [], "kps.0."
    while f"{prefix}up1.0.conv1.weight" in state:
        channels.append(state[f"{prefix}up1.0.conv1.weight"].shape[0])
        blocks.append(count(state, rf"{re.escape(prefix)}up1\.(\d+)\.conv1\.weight"))
        prefix += "low2."
    channels.append(state[f"{prefix}0.conv1.weight"].shape[0])
    blocks.append(count(state, rf"{re.escape(prefix)}(\d+)\.conv1\.weight"))
    stem = state["pre.0.conv.weight"].shape
    keys = {
        "MODEL.BACKBONE.NAME": "build_centernet_hourglass_backbone",
        "MODEL.HOURGLASS.STACKS": stacks,
        "MODEL.HOURGLASS.CHANNELS": channels,
        "MODEL.HOURGLASS.BLOCKS": blocks,
        "MODEL.HOURGLASS.STEM_CHANNELS": stem[0],
        "MODEL.HOURGLASS.STEM_KERNEL": stem[2],
        "MODEL.HOURGLASS.OUT_CHANNELS": state["cnvs.0.conv.weight"].shape[0],
        "MODEL.HEATMAP.IN_FEATURES": [f"stack{stack + 1}" for stack in range(stacks)],
    }
    return "hourglass", f"hourglass, {stacks} stack{'s' * (stacks > 1)}", keys


def count(state: State, pattern: str) -> int:
    """How many values the group of a pattern has among the keys that match as a whole."""
    return len({match[1] for key in state if (match := re.fullmatch(pattern, key))})
