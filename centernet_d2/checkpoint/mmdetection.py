"""Rename table for the points detectors that mmdetection hosts.

They are ResNet-18 with and without deformable convolutions.
Its networks have the layers of this package's `ResNetDeconv`, in units of convolution, norm and
ReLU, and were trained on R, G, B images; `as_bgr` gives them the B, G, R images of this package.
"""

from __future__ import annotations

from torch import Tensor

from .points_repository import BATCH_COUNTERS
from .rename import Keep, Rename, RenameTable

BRANCHES = {"heatmap_head": "heatmap", "wh_head": "size", "offset_head": "offset"}

# Unit of `neck.deconv_layers` -> index of its convolution in `deconv_layers`; its norm is the next.
# Units 0, 2, 4 are the (deformable) 3x3 convolutions, 1, 3, 5 the transposed ones.
CONVOLUTIONS = {0: 0, 1: 3, 2: 6, 3: 9, 4: 12, 5: 15}

NO_BIAS = Keep(
    r"backbone\.deconv_layers\.(0|6|12)\.bias",
    "trained without, because a norm follows",
    fill=0,
)


def _neck() -> tuple[Rename, ...]:
    rules = []
    for unit, index in CONVOLUTIONS.items():
        published, here = rf"neck\.deconv_layers\.{unit}", f"backbone.deconv_layers.{index}"
        norm = f"backbone.deconv_layers.{index + 1}"
        rules += [
            Rename(rf"{published}\.conv\.(weight|bias)", rf"{here}.\1"),
            Rename(rf"{published}\.bn\.(\w+)", rf"{norm}.\1"),
        ]
        if unit % 2 == 0:  # the last form is today's
            offset = rf"{published}\.conv(?:_offset|\.conv_offset_mask|\.conv_offset)"
            rules.append(Rename(rf"{offset}\.(weight|bias)", rf"{here}.conv_offset_mask.\1"))
    return tuple(rules)


RESNET_BOX2D = RenameTable(
    name="mmdetection centernet resnet",
    rules=(
        Rename(r"backbone\.((?:conv1|bn1|layer[1-4])\..+)", r"backbone.\1"),
        *_neck(),
        *(
            Rename(
                rf"bbox_head\.{published}\.([02])\.(weight|bias)", rf"head.stacks.0.{here}.\1.\2"
            )
            for published, here in BRANCHES.items()
        ),
    ),
    kept=(BATCH_COUNTERS, NO_BIAS),
)

FIRST_CONVOLUTION = "backbone.conv1.weight"


def as_bgr(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn a network of R, G, B images into the equal one of B, G, R images.

    The input channels of the first convolution change places; mean and deviation of the config have
    to do the same.
    """
    return state | {FIRST_CONVOLUTION: state[FIRST_CONVOLUTION].flip(1)}
