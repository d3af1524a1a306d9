"""Rename tables for the points networks as their authors published them ("Objects as Points").

A table is put together from the rules of a backbone and those of a task's branches, so that another
backbone or task is a few more lines of data. The model's names: `backbone.<name inside the
backbone>` and `head.stacks.<stack>.<branch>.<index>.<weight or bias>`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from centernet_d2.checkpoint.rename import Drop, Keep, Rename, RenameTable

# Task -> published name of a prediction -> branch of this package's head.
BOX2D_BRANCHES = {"hm": "heatmap", "wh": "size", "reg": "offset"}
POSE_BRANCHES = {
    **BOX2D_BRANCHES,
    "hps": "joint_displacement",
    "hm_hp": "joint_heatmap",
    "hp_offset": "joint_offset",
}
BOX3D_BRANCHES = {**BOX2D_BRANCHES, "dep": "depth", "dim": "dimensions", "rot": "orientation"}
BRANCHES = {"box2d": BOX2D_BRANCHES, "pose": POSE_BRANCHES, "box3d": BOX3D_BRANCHES}

# torchvision's names without a prefix; `deconv_layers` beside them. The same rule serves the
# deformable (resdcn) and the plain (res) form, whose indices differ.
RESNET_TRUNK = (Rename(r"((?:conv1|bn1|layer[1-4])\..+)", r"backbone.\1"),)
RESNET = (*RESNET_TRUNK, Rename(r"(deconv_layers\..+)", r"backbone.\1"))

# Shared by CornerNet, triplet CenterNet, ExtremeNet and the points hourglass, in any number of
# stacks. <block>: conv1, bn1, conv2, bn2, skip.0, skip.1, which are the names here as well.
HOURGLASS = (
    Rename(r"pre\.0\.conv\.(weight|bias)", r"backbone.stem.0.0.\1"),
    Rename(r"pre\.0\.bn\.(\w+)", r"backbone.stem.0.1.\1"),
    Rename(r"pre\.1\.(.+)", r"backbone.stem.1.\1"),
    Rename(r"kps\.(\d+)\.((?:low2\.)*(?:up1|low1|low2|low3)\..+)", r"backbone.hourglasses.\1.\2"),
    Rename(r"cnvs\.(\d+)\.conv\.(weight|bias)", r"backbone.outputs.\1.0.\2"),
    Rename(r"cnvs\.(\d+)\.bn\.(\w+)", r"backbone.outputs.\1.1.\2"),
    Rename(r"inters\.(\d+)\.(.+)", r"backbone.merged.\1.\2"),
    Rename(r"inters_\.(\d+)\.(.+)", r"backbone.merge_input.\1.\2"),
    Rename(r"cnvs_\.(\d+)\.(.+)", r"backbone.merge_output.\1.\2"),
)


def dla_trunk(prefix: str) -> tuple[Rename | Drop, ...]:
    """Rules for DLA's classification network, whose published names start with `prefix`."""
    tree = rf"{re.escape(prefix)}(level[2-5](?:\.tree[12])*)"
    return (
        Rename(rf"{re.escape(prefix)}((?:base_layer|level[01])\..+)", r"backbone.base.\1"),
        Rename(rf"{tree}\.((?:conv|bn)[12]\..+)", r"backbone.base.\1.\2"),
        Rename(rf"{tree}\.root\.conv\.(weight|bias)", r"backbone.base.\1.root.0.\2"),
        Rename(rf"{tree}\.root\.bn\.(\w+)", r"backbone.base.\1.root.1.\2"),
        Rename(
            rf"{re.escape(prefix)}(level[25]|level[34]\.tree1)\.project\.(.+)",
            r"backbone.base.\1.tree1.skip.\2",
        ),
        Drop(
            rf"{re.escape(prefix)}level[34]\.project\..+",
            "computed and thrown away: only the trees inside a two-level tree use their projection",
        ),
        Drop(
            rf"{re.escape(prefix)}fc\.(weight|bias)",
            "classifier of 1000 ImageNet classes, which the detector never evaluates",
        ),
    )


# The way up, `dla_up.ida_<stage>` and, in the deformable form, `ida_up` after it.
DLA_DEFORM_UP = tuple(
    rule
    for published, here in ((r"dla_up\.ida_(\d+)", r"dla_up.\1"), (r"(ida_up)", r"\1"))
    for rule in (
        Rename(rf"{published}\.proj_(\d+)\.conv\.(.+)", rf"backbone.{here}.project.\2.0.\3"),
        Rename(rf"{published}\.proj_(\d+)\.actf\.0\.(.+)", rf"backbone.{here}.project.\2.1.\3"),
        Rename(rf"{published}\.node_(\d+)\.conv\.(.+)", rf"backbone.{here}.node.\2.0.\3"),
        Rename(rf"{published}\.node_(\d+)\.actf\.0\.(.+)", rf"backbone.{here}.node.\2.1.\3"),
        Rename(rf"{published}\.up_(\d+)\.weight", rf"backbone.{here}.up.\2.weight"),
    )
)
DLA_PLAIN_UP = (
    Rename(r"dla_up\.ida_(\d+)\.proj_(\d+)\.(.+)", r"backbone.dla_up.\1.project.\2.\3"),
    Rename(r"dla_up\.ida_(\d+)\.node_(\d+)\.(.+)", r"backbone.dla_up.\1.node.\2.\3"),
    Rename(r"dla_up\.ida_(\d+)\.up_(\d+)\.weight", r"backbone.dla_up.\1.up.\2.weight"),
)

BATCH_COUNTERS = Keep(
    r".*\.num_batches_tracked",
    "files of torch before 0.4.1 lack this counter, which nothing reads at a fixed momentum",
    fill=0,
)


def sequential_branches(branches: Mapping[str, str]) -> tuple[Rename, ...]:
    """Rules for heads that are sequences (every network but the hourglass), on stack 0.

    `<head>.<index>.<parameter>`; a head published without hidden layer is a bare convolution,
    `<head>.<parameter>`, which here is index 0.
    """
    rules = []
    for published, branch in branches.items():
        rules += [
            Rename(rf"{published}\.(\d+)\.(weight|bias)", rf"head.stacks.0.{branch}.\1.\2"),
            Rename(rf"{published}\.(weight|bias)", rf"head.stacks.0.{branch}.0.\1"),
        ]
    return tuple(rules)


def stacked_branches(branches: Mapping[str, str]) -> tuple[Rename, ...]:
    """Rules for the hourglass's heads, one per stack.

    `<head>.<stack>.0.conv.<parameter>`, then `<head>.<stack>.1.<parameter>`; here indices 0 and 2.
    """
    rules = []
    for published, branch in branches.items():
        rules += [
            Rename(
                rf"{published}\.(\d+)\.0\.conv\.(weight|bias)", rf"head.stacks.\1.{branch}.0.\2"
            ),
            Rename(rf"{published}\.(\d+)\.1\.(weight|bias)", rf"head.stacks.\1.{branch}.2.\2"),
        ]
    return tuple(rules)


# Architecture family of the published code -> rules of its backbone and the form of its heads.
ARCHITECTURES: dict[
    str, tuple[tuple[Rename | Drop, ...], Callable[[Mapping[str, str]], tuple[Rename, ...]]]
] = {
    "res": (RESNET, sequential_branches),
    "resdcn": (RESNET, sequential_branches),
    "dla": ((*dla_trunk("base."), *DLA_DEFORM_UP), sequential_branches),
    "dlav0": ((*dla_trunk("base."), *DLA_PLAIN_UP), sequential_branches),
    "hourglass": (HOURGLASS, stacked_branches),
}

# By (family, task of this package).
TABLES = {
    (family, task): RenameTable(
        name=f"points {family} {task}",
        rules=(*backbone, *heads(branches)),
        kept=(BATCH_COUNTERS,),
    )
    for family, (backbone, heads) in ARCHITECTURES.items()
    for task, branches in BRANCHES.items()
}
