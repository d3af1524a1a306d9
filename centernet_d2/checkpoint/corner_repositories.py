"""Rename tables of the corner networks as their authors published them.

CornerNet's and triplet CenterNet's repositories share their layers and the names of these; the
triplet adds layers to the corners' modules, and everything of the center. Any number of stacks and
classes. Left: published name inside `<keypoint>_<part>.<stack>`; right: name here.
"""

from __future__ import annotations

from .points_repository import BATCH_COUNTERS, HOURGLASS
from .rename import Rename, RenameTable

CORNERS = {"tl": "top_left", "br": "bottom_right"}
CENTER = {"ct": "center"}

# Units of convolution and norm; the published code wraps some of them and not the others.
POOLING = {
    r"p1_conv1\.conv": "branches.0.0",
    r"p1_conv1\.bn": "branches.0.1",
    r"p2_conv1\.conv": "branches.1.0",
    r"p2_conv1\.bn": "branches.1.1",
    "p_conv1": "merge.0",
    "p_bn1": "merge.1",
    "conv1": "shortcut.0",
    "bn1": "shortcut.1",
    r"conv2\.conv": "output.0",
    r"conv2\.bn": "output.1",
}
CASCADE = {
    r"look_conv1\.conv": "look.0.0",
    r"look_conv1\.bn": "look.0.1",
    r"look_conv2\.conv": "look.1.0",
    r"look_conv2\.bn": "look.1.1",
    "P1_look_conv": "look_merge.0",
    "P2_look_conv": "look_merge.1",
}
BRANCHES = {"heats": "heatmap", "tags": "embedding", "regrs": "offset"}
LAYERS = {r"0\.conv": "0", "1": "2"}  # of a branch: ReLU is index 1 here


def _keypoint_rules(
    keypoints: dict[str, str], layers: dict[str, str], branches: dict[str, str]
) -> tuple[Rename, ...]:
    rules = []
    for short, keypoint in keypoints.items():
        for published, here in layers.items():
            rules.append(
                Rename(
                    rf"{short}_cnvs\.(\d+)\.{published}\.(\w+)",
                    rf"head.stacks.\1.{keypoint}.pooling.{here}.\2",
                )
            )
        for published, branch in branches.items():
            for layer, index in LAYERS.items():
                rules.append(
                    Rename(
                        rf"{short}_{published}\.(\d+)\.{layer}\.(weight|bias)",
                        rf"head.stacks.\1.{keypoint}.{branch}.{index}.\2",
                    )
                )
    return tuple(rules)


CENTER_BRANCHES = {"heats": "heatmap", "regrs": "offset"}  # a center has no embedding

CORNERNET = RenameTable(
    name="cornernet",
    rules=(*HOURGLASS, *_keypoint_rules(CORNERS, POOLING, BRANCHES)),
    kept=(BATCH_COUNTERS,),
)
TRIPLET = RenameTable(
    name="triplet centernet",
    rules=(
        *HOURGLASS,
        *_keypoint_rules(CORNERS, POOLING | CASCADE, BRANCHES),
        *_keypoint_rules(CENTER, POOLING, CENTER_BRANCHES),
    ),
    kept=(BATCH_COUNTERS,),
)
