"""Rename tables of the corner networks as their authors published them.

CornerNet's and triplet CenterNet's repositories share their layers and the names of these; the
triplet adds layers to the corners' modules, and everything of the center. Any number of stacks and
classes. ExtremeNet itself is not part of this package: its trunk starts the points hourglass.
"""

from .points_repository import BATCH_COUNTERS, HOURGLASS
from .rename import Drop, Keep, RenameTable, renames

# Units of convolution and norm; the published code wraps some of them and not the others. In the
# two layers of a branch ReLU is index 1 here.
CORNERS = renames("""
    {tl,br}_cnvs.#.{p1_conv1,p2_conv1,conv2}.{conv,bn}.*
        head.stacks.#.{top_left,bottom_right}.pooling.{branches.0,branches.1,output}.{0,1}.*
    {tl,br}_cnvs.#.{p_conv1,p_bn1,conv1,bn1}.*
        head.stacks.#.{top_left,bottom_right}.pooling.{merge.0,merge.1,shortcut.0,shortcut.1}.*
    {tl,br}_{heats,tags,regrs}.#.{0.conv,1}.*
        head.stacks.#.{top_left,bottom_right}.{heatmap,embedding,offset}.{0,2}.*
""")
CASCADE = renames("""
    {tl,br}_cnvs.#.{look_conv1,look_conv2}.{conv,bn}.*
        head.stacks.#.{top_left,bottom_right}.pooling.{look.0,look.1}.{0,1}.*
    {tl,br}_cnvs.#.{P1_look_conv,P2_look_conv}.*
        head.stacks.#.{top_left,bottom_right}.pooling.{look_merge.0,look_merge.1}.*
""")
CENTER = renames("""
    ct_cnvs.#.{p1_conv1,p2_conv1,conv2}.{conv,bn}.*
        head.stacks.#.center.pooling.{branches.0,branches.1,output}.{0,1}.*
    ct_cnvs.#.{p_conv1,p_bn1,conv1,bn1}.*
        head.stacks.#.center.pooling.{merge.0,merge.1,shortcut.0,shortcut.1}.*
    ct_{heats,regrs}.#.{0.conv,1}.*
        head.stacks.#.center.{heatmap,offset}.{0,2}.*
""")

CORNERNET = RenameTable("cornernet", (*HOURGLASS, *CORNERS), (BATCH_COUNTERS,))
TRIPLET = RenameTable(
    "triplet centernet", (*HOURGLASS, *CORNERS, *CASCADE, *CENTER), (BATCH_COUNTERS,)
)
EXTREMENET_TRUNK = RenameTable(
    name="extremenet hourglass trunk",
    rules=(
        *HOURGLASS,
        # ExtremeNet's own names, and those after the points repository's conversion.
        Drop(
            r"(?:[tlbr]_(?:heats|regrs)|(?:hm|reg)_[tlbr])\.\d+\..+",
            "heatmaps and offsets of extreme points, which the points detector does not predict",
        ),
        Drop(
            r"(?:ct_heats|hm_c)\.\d+\..+",
            "heatmap of geometric centers; the published training started its heatmap anew",
        ),
    ),
    kept=(BATCH_COUNTERS, Keep(r"head\..+", "ExtremeNet has no heads of boxes")),
)
