"""Rename tables of the corner networks as their authors published them.

CornerNet's and triplet CenterNet's repositories share their layers and the names of these; the
triplet adds layers to the corners' modules, and everything of the center. Any number of stacks and
classes. ExtremeNet itself is not part of this package: its trunk starts the points hourglass.
"""

from __future__ import annotations

from .points_repository import BATCH_COUNTERS, HOURGLASS
from .rename import Drop, Keep, Rename, RenameTable, renames

# Units of convolution and norm; the published code wraps some of them and not the others.
POOLING = """
    p1_conv1.conv branches.0.0
    p1_conv1.bn   branches.0.1
    p2_conv1.conv branches.1.0
    p2_conv1.bn   branches.1.1
    p_conv1       merge.0
    p_bn1         merge.1
    conv1         shortcut.0
    bn1           shortcut.1
    conv2.conv    output.0
    conv2.bn      output.1
"""
CASCADE = """
    look_conv1.conv look.0.0
    look_conv1.bn   look.0.1
    look_conv2.conv look.1.0
    look_conv2.bn   look.1.1
    P1_look_conv    look_merge.0
    P2_look_conv    look_merge.1
"""
CENTER_BRANCHES = {"heats": "heatmap", "regrs": "offset"}
CORNER_BRANCHES = CENTER_BRANCHES | {"tags": "embedding"}


def _keypoint(
    short: str, keypoint: str, layers: str, branches: dict[str, str]
) -> tuple[Rename, ...]:
    rules = []
    for published, here in (line.split() for line in layers.splitlines() if line):
        rules.append(f"{short}_cnvs.#.{published}.* head.stacks.#.{keypoint}.pooling.{here}.*")
    for published, branch in branches.items():
        here = f"head.stacks.#.{keypoint}.{branch}"
        rules.append(f"{short}_{published}.#.0.conv.* {here}.0.*")
        rules.append(f"{short}_{published}.#.1.* {here}.2.*")  # ReLU is index 1 here
    return renames("\n".join(rules))


CORNERNET = RenameTable(
    name="cornernet",
    rules=(
        *HOURGLASS,
        *_keypoint("tl", "top_left", POOLING, CORNER_BRANCHES),
        *_keypoint("br", "bottom_right", POOLING, CORNER_BRANCHES),
    ),
    kept=(BATCH_COUNTERS,),
)
TRIPLET = RenameTable(
    name="triplet centernet",
    rules=(
        *HOURGLASS,
        *_keypoint("tl", "top_left", POOLING + CASCADE, CORNER_BRANCHES),
        *_keypoint("br", "bottom_right", POOLING + CASCADE, CORNER_BRANCHES),
        *_keypoint("ct", "center", POOLING, CENTER_BRANCHES),
    ),
    kept=(BATCH_COUNTERS,),
)
EXTREMENET_TRUNK = RenameTable(
    name="extremenet hourglass trunk",
    rules=(
        *HOURGLASS,
        # ExtremeNet's own names, and those after the points repository's conversion.
        Drop(
            r"(?:[tlbr]_heats|hm_[tlbr])\.\d+\..+",
            "heatmaps of extreme points, which the points detector does not predict",
        ),
        Drop(
            r"(?:[tlbr]_regrs|reg_[tlbr])\.\d+\..+",
            "offsets of extreme points, which the points detector does not predict",
        ),
        Drop(
            r"(?:ct_heats|hm_c)\.\d+\..+",
            "heatmap of geometric centers; the published training started its heatmap anew",
        ),
    ),
    kept=(BATCH_COUNTERS, Keep(r"head\..+", "ExtremeNet has no heads of boxes")),
)
