"""From the shapes of a published backbone, under its authors' names, to the config of its like."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..structures.names import counted

State = Mapping[str, Tensor]
Overrides = dict[str, Any]

# (bottleneck?, blocks of layer1 to layer4) -> depth
RESNET_DEPTHS = {
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
    (True, (3, 8, 36, 3)): 152,
}
# (network, way up) -> what the points repository calls it
FAMILIES = {
    ("resnet", "plain"): "res",
    ("resnet", "deform"): "resdcn",
    ("dla", "plain"): "dlav0",
    ("dla", "deform"): "dla",
}


class UnknownWeightsError(ValueError):
    """The keys of a file fit no table."""


class UnsupportedWeightsError(UnknownWeightsError):
    """The source of a file is known, but it has no table for this network."""


@dataclass(frozen=True)
class Backbone:
    """A published backbone: "resnet", "dla" or "hourglass", its size, its way up, its config."""

    network: str
    size: str
    upsample: str
    keys: Overrides

    @property
    def family(self) -> str:
        """Its family in the points repository."""
        return FAMILIES.get((self.network, self.upsample), self.network)


def read_backbone(state: State, *, plain: str) -> Backbone:
    """Read a backbone; `plain` is the UPSAMPLE of one without deformable convolutions.

    Raises:
        UnsupportedWeightsError: a ResNet of no known depth.
    """
    if "pre.0.conv.weight" in state:
        stacks, keys = _hourglass(state)
        return Backbone("hourglass", counted(stacks, "stack"), "", keys)
    is_dla = "base.base_layer.0.weight" in state
    marker = "ida_up.up_1.weight" if is_dla else "deconv_layers.0.conv_offset_mask.weight"
    upsample = "deform" if marker in state else plain
    if is_dla:
        keys = {
            "MODEL.BACKBONE.NAME": "build_centernet_dla_backbone",
            "MODEL.DLA.UPSAMPLE": upsample,
            "MODEL.HEATMAP.IN_FEATURES": ["dla_up"],
        }
        return Backbone("dla", "34", upsample, keys)
    blocks = tuple(_count(state, rf"layer{layer}\.(\d+)\.conv1\.weight") for layer in range(1, 5))
    depth = RESNET_DEPTHS.get(("layer1.0.conv3.weight" in state, blocks))
    if depth is None:
        raise UnsupportedWeightsError(
            f"these weights are a ResNet with {blocks} blocks, which is no known depth"
        )
    keys = {
        "MODEL.BACKBONE.NAME": "build_centernet_resnet_deconv_backbone",
        "MODEL.RESNET_DECONV.DEPTH": depth,
        "MODEL.RESNET_DECONV.UPSAMPLE": upsample,
        "MODEL.HEATMAP.IN_FEATURES": ["deconv"],
    }
    return Backbone("resnet", str(depth), upsample, keys)


def _hourglass(state: State) -> tuple[int, Overrides]:
    stacks = _count(state, r"kps\.(\d+)\.up1\.0\.conv1\.weight")
    levels, prefix = [], "kps.0."
    while f"{prefix}up1.0.conv1.weight" in state:
        levels.append(f"{prefix}up1.")
        prefix += "low2."
    levels.append(prefix)
    stem = state["pre.0.conv.weight"].shape
    blocks = [_count(state, rf"{re.escape(level)}(\d+)\.conv1\.weight") for level in levels]
    return stacks, {
        "MODEL.BACKBONE.NAME": "build_centernet_hourglass_backbone",
        "MODEL.HOURGLASS.STACKS": stacks,
        "MODEL.HOURGLASS.CHANNELS": [state[f"{level}0.conv1.weight"].shape[0] for level in levels],
        "MODEL.HOURGLASS.BLOCKS": blocks,
        "MODEL.HOURGLASS.STEM_CHANNELS": stem[0],
        "MODEL.HOURGLASS.STEM_KERNEL": stem[2],
        "MODEL.HOURGLASS.OUT_CHANNELS": state["cnvs.0.conv.weight"].shape[0],
        "MODEL.HEATMAP.IN_FEATURES": [f"stack{stack + 1}" for stack in range(stacks)],
    }


def _count(state: State, pattern: str) -> int:
    """How many values the group of a pattern has among the keys that match as a whole."""
    return len({match[1] for key in state if (match := re.fullmatch(pattern, key))})
