"""Rename tables for the detectors that mmdetection hosts.

They are points CenterNet on ResNet-18, with and without deformable convolutions, and CornerNet on
the Hourglass-104. Its networks have the layers of this package's, in units of convolution, norm and
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

# A unit of convolution and norm, as which mmdetection writes most of CornerNet.
UNIT = ((r"\.conv", "0"), (r"\.bn", "1"))


def _units(published: str, here: str) -> list[Rename]:
    return [Rename(rf"{published}{part}\.(\w+)", rf"{here}.{index}.\2") for part, index in UNIT]


def _hourglass() -> list[Rename]:
    block, level = r"((?:conv|bn)[12])\.(\w+)", r"((?:low2\.)*(?:up1|low1|low2|low3)\.\d+)"
    trunk = r"backbone\.hourglass_modules\.(\d+)"
    rules = [
        Rename(r"backbone\.stem\.0\.conv\.(weight|bias)", r"backbone.stem.0.0.\1"),
        Rename(r"backbone\.stem\.0\.bn\.(\w+)", r"backbone.stem.0.1.\1"),
        Rename(rf"backbone\.stem\.1\.0\.{block}", r"backbone.stem.1.\1.\2"),
        Rename(r"backbone\.stem\.1\.0\.downsample\.(.+)", r"backbone.stem.1.skip.\1"),
        Rename(rf"{trunk}\.{level}\.{block}", r"backbone.hourglasses.\1.\2.\3.\4"),
        Rename(rf"{trunk}\.{level}\.downsample\.(.+)", r"backbone.hourglasses.\1.\2.skip.\3"),
        Rename(rf"backbone\.inters\.(\d+)\.{block}", r"backbone.merged.\1.\2.\3"),
    ]
    for published, here in (
        ("conv1x1s", "merge_input"),
        ("remap_convs", "merge_output"),
        ("out_convs", "outputs"),
    ):
        rules += _units(rf"backbone\.{published}\.(\d+)", rf"backbone.{here}.\1")
    return rules


def _corner(short: str, corner: str) -> list[Rename]:
    rules = []
    for published, here in (
        ("direction1_conv", "branches.0"),
        ("direction2_conv", "branches.1"),
        ("aftpool_conv", "merge"),
        ("conv1", "shortcut"),
        ("conv2", "output"),
    ):
        rules += _units(
            rf"bbox_head\.{short}_pool\.(\d+)\.{published}",
            rf"head.stacks.\1.{corner}.pooling.{here}",
        )
    for published, branch in (("heat", "heatmap"), ("emb", "embedding"), ("off", "offset")):
        rules += [
            Rename(
                rf"bbox_head\.{short}_{published}\.(\d+)\.{layer}\.conv\.(weight|bias)",
                rf"head.stacks.\1.{corner}.{branch}.{index}.\2",
            )
            for layer, index in ((0, 0), (1, 2))
        ]
    return rules


CORNERNET = RenameTable(
    name="mmdetection cornernet",
    rules=(*_hourglass(), *_corner("tl", "top_left"), *_corner("br", "bottom_right")),
    kept=(BATCH_COUNTERS,),
)

FIRST_CONVOLUTIONS = ("backbone.conv1.weight", "backbone.stem.0.0.weight")


def as_bgr(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn a network of R, G, B images into the equal one of B, G, R images.

    The input channels of the first convolution change places; mean and deviation of the config have
    to do the same.
    """
    first = next(name for name in FIRST_CONVOLUTIONS if name in state)
    return state | {first: state[first].flip(1)}
