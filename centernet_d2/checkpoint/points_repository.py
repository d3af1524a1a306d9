"""Rename tables for the points networks as their authors published them ("Objects as Points").

A table is put together from the rules of a backbone and those of a task's branches, so that another
backbone or task is a few more lines of data. The model's names: `backbone.<name inside the
backbone>` and `head.stacks.<stack>.<branch>.<index>.<weight or bias>`.
"""

from __future__ import annotations

from collections.abc import Mapping

from centernet_d2.checkpoint.rename import Drop, Keep, Rename, RenameTable

# Published name of a prediction -> branch of this package's head.
BOX2D_BRANCHES = {"hm": "heatmap", "wh": "size", "reg": "offset"}

# torchvision's names without a prefix; `deconv_layers` beside them. The same rule serves the
# deformable (resdcn) and the plain (res) form, whose indices differ.
RESNET_TRUNK = (Rename(r"((?:conv1|bn1|layer[1-4])\..+)", r"backbone.\1"),)
RESNET = (*RESNET_TRUNK, Rename(r"(deconv_layers\..+)", r"backbone.\1"))

BATCH_COUNTERS = Keep(
    r".*\.num_batches_tracked",
    "files of torch before 0.4.1 lack this counter, which nothing reads at a fixed momentum",
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


RESNET_BOX2D = RenameTable(
    name="points resnet box2d",
    rules=(*RESNET, *sequential_branches(BOX2D_BRANCHES)),
    kept=(BATCH_COUNTERS,),
)

# Pre-trained trunk, torchvision's classification files.
IMAGENET_RESNET = RenameTable(
    name="imagenet resnet",
    rules=(*RESNET_TRUNK, Drop(r"fc\.(weight|bias)", "classifier of 1000 ImageNet classes")),
    kept=(
        BATCH_COUNTERS,
        Keep(r"backbone\.deconv_layers\..+", "up-sampling is not pre-trained"),
        Keep(r"head\..+", "heads are not pre-trained"),
    ),
)

# By the architecture family of the published code and the task of this package.
TABLES = {
    ("res", "box2d"): RESNET_BOX2D,
    ("resdcn", "box2d"): RESNET_BOX2D,
}
