"""Rename tables for the points networks as their authors published them ("Objects as Points").

A table is put together from the rules of a backbone and those of a task's branches, so that another
backbone or task is a few more lines of data. The model's names: `backbone.<name inside the
backbone>` and `head.stacks.<stack>.<branch>.<index>.<weight or bias>`.
"""

from __future__ import annotations

import re

from centernet_d2.checkpoint.rename import Drop, Keep, Rename, RenameTable, renames

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
RESNET = (*RESNET_TRUNK, *renames("deconv_layers.** backbone.deconv_layers.**"))

# Shared by CornerNet, triplet CenterNet, ExtremeNet and the points hourglass, in any number of
# stacks. <block>: conv1, bn1, conv2, bn2, skip.0, skip.1, which are the names here as well.
HOURGLASS = renames("""
    pre.0.conv.*  backbone.stem.0.0.*
    pre.0.bn.*    backbone.stem.0.1.*
    pre.1.**      backbone.stem.1.**
    kps.#.**      backbone.hourglasses.#.**
    cnvs.#.conv.* backbone.outputs.#.0.*
    cnvs.#.bn.*   backbone.outputs.#.1.*
    inters.#.**   backbone.merged.#.**
    inters_.#.**  backbone.merge_input.#.**
    cnvs_.#.**    backbone.merge_output.#.**
""")


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
    for published, here in (("dla_up.ida_#", "dla_up.#"), ("ida_up", "ida_up"))
    for rule in renames(f"""
        {published}.proj_#.conv.**   backbone.{here}.project.#.0.**
        {published}.proj_#.actf.0.** backbone.{here}.project.#.1.**
        {published}.node_#.conv.**   backbone.{here}.node.#.0.**
        {published}.node_#.actf.0.** backbone.{here}.node.#.1.**
        {published}.up_#.weight      backbone.{here}.up.#.weight
    """)
)
DLA_PLAIN_UP = renames("""
    dla_up.ida_#.proj_#.**   backbone.dla_up.#.project.#.**
    dla_up.ida_#.node_#.**   backbone.dla_up.#.node.#.**
    dla_up.ida_#.up_#.weight backbone.dla_up.#.up.#.weight
""")

BATCH_COUNTERS = Keep(
    r".*\.num_batches_tracked",
    "files of torch before 0.4.1 lack this counter, which nothing reads at a fixed momentum",
    fill=0,
)


# <head>.<index>.<parameter>; one published without hidden layer is a bare convolution.
SEQUENTIAL = """
    {published}.#.* head.stacks.0.{branch}.#.*
    {published}.*   head.stacks.0.{branch}.0.*
"""
STACKED = """
    {published}.#.0.conv.* head.stacks.#.{branch}.0.*
    {published}.#.1.*      head.stacks.#.{branch}.2.*
"""
# Architecture family of the published code -> rules of its backbone and of its heads.
ARCHITECTURES = {
    "res": (RESNET, SEQUENTIAL),
    "resdcn": (RESNET, SEQUENTIAL),
    "dla": ((*dla_trunk("base."), *DLA_DEFORM_UP), SEQUENTIAL),
    "dlav0": ((*dla_trunk("base."), *DLA_PLAIN_UP), SEQUENTIAL),
    "hourglass": (HOURGLASS, STACKED),
}

# By (family, task of this package).
TABLES = {
    (family, task): RenameTable(
        name=f"points {family} {task}",
        rules=(
            *backbone,
            *(
                rule
                for published, branch in branches.items()
                for rule in renames(head.format(published=published, branch=branch))
            ),
        ),
        kept=(BATCH_COUNTERS,),
    )
    for family, (backbone, head) in ARCHITECTURES.items()
    for task, branches in BRANCHES.items()
}
