"""Rename tables for the detectors that mmdetection hosts.

They are points CenterNet on ResNet-18, with and without deformable convolutions, and CornerNet on
the Hourglass-104. Its networks have the layers of this package's, in units of convolution, norm and
ReLU, and were trained on R, G, B images; `as_bgr` gives them the B, G, R images of this package.
"""

from __future__ import annotations

from torch import Tensor

from .points_repository import BATCH_COUNTERS
from .rename import Keep, Rename, RenameTable, renames

# How names begin -> how those of the authors do, as far as `detect_source` reads them.
CORNERNET_NAMES = {
    "backbone.hourglass_modules.": "kps.",
    "backbone.stem.0.": "pre.0.",
    "backbone.out_convs.": "cnvs.",
    "bbox_head.tl_heat.": "tl_heats.",
    "bbox_head.tl_pool.0.direction1_conv.": "tl_cnvs.0.p1_conv1.",
}
POINTS_NAMES = {
    "backbone.": "",
    "neck.deconv_layers.0.conv.": "deconv_layers.0.",
    "neck.deconv_layers.0.conv_offset.": "deconv_layers.0.conv_offset_mask.",
    "neck.deconv_layers.0.conv.conv_offset.": "deconv_layers.0.conv_offset_mask.",
    "bbox_head.heatmap_head.": "hm.",
    "bbox_head.wh_head.": "wh.",
}


def _neck() -> tuple[Rename, ...]:
    """Units 0, 2, 4 are the (deformable) 3x3 convolutions, 1, 3, 5 the transposed ones."""
    rules = []
    for unit in range(6):
        published, here = f"neck.deconv_layers.{unit}", "backbone.deconv_layers"
        rules.append(f"{published}.conv.* {here}.{3 * unit}.*")
        rules.append(f"{published}.bn.* {here}.{3 * unit + 1}.*")
        if unit % 2 == 0:
            # The last form is today's.
            for offset in (".conv_offset", ".conv.conv_offset_mask", ".conv.conv_offset"):
                rules.append(f"{published}{offset}.* {here}.{3 * unit}.conv_offset_mask.*")
    return renames("\n".join(rules))


RESNET_BOX2D = RenameTable(
    name="mmdetection centernet resnet",
    rules=(
        *_neck(),
        *renames("""
            backbone.**                backbone.**
            bbox_head.heatmap_head.#.* head.stacks.0.heatmap.#.*
            bbox_head.wh_head.#.*      head.stacks.0.size.#.*
            bbox_head.offset_head.#.*  head.stacks.0.offset.#.*
        """),
    ),
    kept=(
        BATCH_COUNTERS,
        Keep(
            r"backbone\.deconv_layers\.(0|6|12)\.bias",
            "trained without, because a norm follows",
            fill=0,
        ),
    ),
)


def _hourglass() -> tuple[Rename, ...]:
    rules = [
        "backbone.stem.0.conv.* backbone.stem.0.0.*",
        "backbone.stem.0.bn.* backbone.stem.0.1.*",
        "backbone.inters.#.** backbone.merged.#.**",
    ]
    trunk, own = "backbone.hourglass_modules.#.**.#", "backbone.hourglasses.#.**.#"
    for published, here in (("backbone.stem.1.0", "backbone.stem.1"), (trunk, own)):
        rules += [f"{published}.{layer}.* {here}.{layer}.*" for layer in _BLOCK]
        rules.append(f"{published}.downsample.** {here}.skip.**")
    for published, here in _UNITS.items():
        rules += _unit(f"backbone.{published}.#", f"backbone.{here}.#")
    return renames("\n".join(rules))


_BLOCK = ("conv1", "bn1", "conv2", "bn2")
# Units of convolution and norm, as which mmdetection writes most of CornerNet.
_UNITS = {"conv1x1s": "merge_input", "remap_convs": "merge_output", "out_convs": "outputs"}
_POOLING = {
    "direction1_conv": "branches.0",
    "direction2_conv": "branches.1",
    "aftpool_conv": "merge",
    "conv1": "shortcut",
    "conv2": "output",
}


def _unit(published: str, here: str) -> list[str]:
    return [f"{published}.conv.* {here}.0.*", f"{published}.bn.* {here}.1.*"]


def _corner(short: str, corner: str) -> tuple[Rename, ...]:
    rules = []
    for published, here in _POOLING.items():
        rules += _unit(
            f"bbox_head.{short}_pool.#.{published}", f"head.stacks.#.{corner}.pooling.{here}"
        )
    for published, branch in (("heat", "heatmap"), ("emb", "embedding"), ("off", "offset")):
        for layer, index in ((0, 0), (1, 2)):
            rules.append(
                f"bbox_head.{short}_{published}.#.{layer}.conv.* "
                f"head.stacks.#.{corner}.{branch}.{index}.*"
            )
    return renames("\n".join(rules))


CORNERNET = RenameTable(
    name="mmdetection cornernet",
    rules=(*_hourglass(), *_corner("tl", "top_left"), *_corner("br", "bottom_right")),
    kept=(BATCH_COUNTERS,),
)


def as_bgr(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn a network of R, G, B images into the equal one of B, G, R images.

    The input channels of the first convolution change places; mean and deviation of the config have
    to do the same.
    """
    names = ("backbone.conv1.weight", "backbone.stem.0.0.weight")
    first = next(name for name in names if name in state)
    return state | {first: state[first].flip(1)}
