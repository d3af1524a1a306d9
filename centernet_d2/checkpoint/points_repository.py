"""Rename tables for the points networks as their authors published them ("Objects as Points").

A table is put together from the rules of a backbone and those of a task's branches, so that another
backbone or task is a few more lines of data. The model's names: `backbone.<name inside the
backbone>` and `head.stacks.<stack>.<branch>.<index>.<weight or bias>`.
"""

import re

from .rename import Drop, Keep, Rename, RenameTable, renames

# Task -> published names of its predictions, branches of this package's head.
BRANCHES = {
    "box2d": ("{hm,wh,reg}", "{heatmap,size,offset}"),
    "pose": (
        "{hm,wh,reg,hps,hm_hp,hp_offset}",
        "{heatmap,size,offset,joint_displacement,joint_heatmap,joint_offset}",
    ),
    "box3d": ("{hm,wh,reg,dep,dim,rot}", "{heatmap,size,offset,depth,dimensions,orientation}"),
}

# torchvision's names without a prefix; `deconv_layers` beside them. The same rule serves the
# deformable (resdcn) and the plain (res) form, whose indices differ.
RESNET_TRUNK = (Rename(r"((?:conv1|bn1|layer[1-4])\..+)", r"backbone.\1"),)
RESNET = (*RESNET_TRUNK, *renames("deconv_layers.** backbone.deconv_layers.**"))

# Shared by CornerNet, triplet CenterNet, ExtremeNet and the points hourglass, in any number of
# stacks. <block>: conv1, bn1, conv2, bn2, skip.0, skip.1, which are the names here as well.
HOURGLASS = renames("""
    pre.0.{conv,bn}.*  backbone.stem.0.{0,1}.*
    pre.1.**           backbone.stem.1.**
    kps.#.**           backbone.hourglasses.#.**
    cnvs.#.{conv,bn}.* backbone.outputs.#.{0,1}.*
    inters.#.**        backbone.merged.#.**
    inters_.#.**       backbone.merge_input.#.**
    cnvs_.#.**         backbone.merge_output.#.**
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
DLA_DEFORM_UP = renames("""
    dla_up.ida_#.{proj,node}_#.{conv,actf.0}.** backbone.dla_up.#.{project,node}.#.{0,1}.**
    dla_up.ida_#.up_#.weight                    backbone.dla_up.#.up.#.weight
    ida_up.{proj,node}_#.{conv,actf.0}.**       backbone.ida_up.{project,node}.#.{0,1}.**
    ida_up.up_#.weight                          backbone.ida_up.up.#.weight
""")
DLA_PLAIN_UP = renames("""
    dla_up.ida_#.{proj,node}_#.** backbone.dla_up.#.{project,node}.#.**
    dla_up.ida_#.up_#.weight      backbone.dla_up.#.up.#.weight
""")

BATCH_COUNTERS = Keep(
    r".*\.num_batches_tracked",
    "files of torch before 0.4.1 lack this counter, which nothing reads at a fixed momentum",
    fill=0,
)

# <head>.<index>.<parameter>; one published without hidden layer is a bare convolution.
SEQUENTIAL = """
    HEAD.#.* head.stacks.0.BRANCH.#.*
    HEAD.*   head.stacks.0.BRANCH.0.*
"""
STACKED = "HEAD.#.{0.conv,1}.* head.stacks.#.BRANCH.{0,2}.*"
# Architecture family of the published code -> rules of its backbone and of its heads.
ARCHITECTURES = {
    "res": (RESNET, SEQUENTIAL),
    "resdcn": (RESNET, SEQUENTIAL),
    "dla": ((*dla_trunk("base."), *DLA_DEFORM_UP), SEQUENTIAL),
    "dlav0": ((*dla_trunk("base."), *DLA_PLAIN_UP), SEQUENTIAL),
    "hourglass": (HOURGLASS, STACKED),
}
TABLES = {  # by (family, task of this package)
    (family, task): RenameTable(
        f"points {family} {task}",
        (*backbone, *renames(heads.replace("HEAD", published).replace("BRANCH", branches))),
        (BATCH_COUNTERS,),
    )
    for family, (backbone, heads) in ARCHITECTURES.items()
    for task, (published, branches) in BRANCHES.items()
}
