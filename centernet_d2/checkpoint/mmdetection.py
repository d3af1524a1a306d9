"""Rename tables for the detectors that mmdetection hosts.

They are points CenterNet on ResNet-18, with and without deformable convolutions, and CornerNet on
the Hourglass-104. Its networks have the layers of this package's, in units of convolution, norm and
ReLU, and were trained on R, G, B images; `pixels.as_bgr` gives them those of this package.
"""

from .points_repository import BATCH_COUNTERS
from .rename import Keep, RenameTable, renames

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
    "bbox_head.offset_head.": "reg.",
}

RESNET_BOX2D = RenameTable(
    name="mmdetection centernet resnet",
    rules=renames("""
        backbone.**  backbone.**
        neck.deconv_layers.{0,1,2,3,4,5}.conv.*  backbone.deconv_layers.{0,3,6,9,12,15}.*
        neck.deconv_layers.{0,1,2,3,4,5}.bn.*    backbone.deconv_layers.{1,4,7,10,13,16}.*

        neck.deconv_layers.{0,2,4}.conv_offset.*
            backbone.deconv_layers.{0,6,12}.conv_offset_mask.*
        neck.deconv_layers.{0,2,4}.conv.{conv_offset_mask,conv_offset}.*
            backbone.deconv_layers.{0,6,12}.{conv_offset_mask,conv_offset_mask}.*

        bbox_head.{heatmap_head,wh_head,offset_head}.#.*
            head.stacks.0.{heatmap,size,offset}.#.*
    """),
    kept=(
        BATCH_COUNTERS,
        Keep(r"backbone\.deconv_layers\.(0|6|12)\.bias", "trained without: a norm follows", fill=0),
    ),
)
CORNERNET = RenameTable(
    name="mmdetection cornernet",
    rules=renames("""
        backbone.stem.0.{conv,bn}.*     backbone.stem.0.{0,1}.*
        backbone.stem.1.0.*.*           backbone.stem.1.*.*
        backbone.stem.1.0.downsample.** backbone.stem.1.skip.**
        backbone.inters.#.*.*           backbone.merged.#.*.*

        backbone.hourglass_modules.#.**.#.*.*           backbone.hourglasses.#.**.#.*.*
        backbone.hourglass_modules.#.**.#.downsample.** backbone.hourglasses.#.**.#.skip.**

        backbone.{conv1x1s,remap_convs,out_convs}.#.{conv,bn}.*
            backbone.{merge_input,merge_output,outputs}.#.{0,1}.*

        bbox_head.{tl,br}_pool.#.{direction1_conv,direction2_conv}.{conv,bn}.*
            head.stacks.#.{top_left,bottom_right}.pooling.{branches.0,branches.1}.{0,1}.*
        bbox_head.{tl,br}_pool.#.{aftpool_conv,conv1,conv2}.{conv,bn}.*
            head.stacks.#.{top_left,bottom_right}.pooling.{merge,shortcut,output}.{0,1}.*

        bbox_head.{tl,br}_{heat,emb,off}.#.{0,1}.conv.*
            head.stacks.#.{top_left,bottom_right}.{heatmap,embedding,offset}.{0,2}.*
    """),
    kept=(BATCH_COUNTERS,),
)
