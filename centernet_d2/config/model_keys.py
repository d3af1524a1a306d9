"""Keys of MODEL: NAME=(default, rule, meaning with its unit and source).

The defaults are the recipe that the points paper's published weights were trained with; a value
that is an inherited oddity is *named*, so that another choice is one word away.
"""

from ..checked_values import Rule, flag, listed, number, one_of, share, weight, whole, word
from .rules import block, channels, norm, size, widths

# fmt: off
GENERAL = block(
    "MODEL", "Shared by all models.",
    CHECKPOINT_MISMATCH=("report", one_of("fail", "report"),
        "`fail`: an error when a checkpoint lacks or misshapes parameters of the model; `report`: "
        "a printed summary."),
)
HEATMAP = block(
    "MODEL.HEATMAP", "Shared by all detectors that find objects on a heatmap.",
    NUM_CLASSES=(80, whole(),
        "Number of classes. 0: taken from the training dataset's metadata by "
        "`centernet_d2.setup(cfg)`."),
    IN_FEATURES=(["deconv"], listed(word, least=1, distinct=True),
        "Backbone outputs that carry a prediction, all of one stride. Each is supervised, the last "
        "one predicts."),
    RADIUS_RULE=("legacy", one_of("legacy", "exact", "fixed", "none"),
        "Object -> Gaussian radius: `legacy` (published points and triplet code: larger root, "
        "radius 3.3 times the exact one), `exact` (CornerNet's later correction), `fixed` "
        "(FIXED_RADIUS), `none` (a single positive cell)."),
    MIN_OVERLAP=(0.7, number(above=0, high=1),
        "Overlap that the radius guarantees (points 0.7, corners 0.3)."),
    FIXED_RADIUS=(2, whole(), "Cells, for RADIUS_RULE `fixed`."),
    RADIUS_ROUND_UP=(True, flag,
        "Take the radius of the size rounded up to whole cells (published for 2-D boxes and "
        "poses); for 3-D boxes the published code does not round."),
    PRIOR_BIAS=(-2.19, number(),
        "Bias of the last layer of every heatmap branch: prior of about 0.1 (published value)."),
    FOCAL_ALPHA=(2.0, weight, "Exponent on the error of the prediction."),
    FOCAL_BETA=(4.0, weight, "Exponent that lowers the weight of cells near a center."),
    FOCAL_NORMALIZER=("peaks", one_of("peaks", "objects"),
        "The focal loss is divided by the `peaks` of a GPU's images together (published code), or "
        "each image's by its `objects`, with the mean over images (the papers' N)."),
    PEAK_KERNEL=(3, whole(1, odd=True), "Side of the window in which a peak must be the maximum."),
    TOP_K=(100, whole(1),
        "Peaks kept per image, over all classes; of corners and their centers per kind of keypoint "
        "and per view (published: 100 for CornerNet, 70 for the triplet)."),
    SCORE_THRESHOLD=(0.0, share,
        "Detections at or below are dropped; 0: nothing is dropped (published)."),
    CHANNELS_LAST=(True, flag,
        "Run in channels-last memory format (the deformable convolution needs it on a CPU; faster "
        "under AMP on CUDA)."),
)
POINTS = block(
    "MODEL.POINTS_CENTERNET", 'Points CenterNet, "Objects as Points".',
    TASKS=(["box2d"], listed(word, least=1, distinct=True),
        "Registered point tasks; each adds its branches and fields."),
    HEAD_CHANNELS=(64, whole(),
        "Width of the 3x3 convolution before each branch's 1x1; 0: a single 1x1. Published code: "
        "64 for ResNet, 256 for DLA."),
    REGRESSION_INIT=("normal", one_of("normal", "last_normal", "zero_bias", "torch"),
        "How regression branches start: `normal` (N(0, 0.001), zero bias: published resdcn), "
        "`last_normal` (only the last layer: published res), `zero_bias` (published dla), `torch` "
        "(torch defaults: published hourglass)."),
    OFFSET=(True, flag,
        "Predict where in its cell a center lies. False: the branch and its loss are left out, and "
        "centers are in the middle of their cells (published --not_reg_offset)."),
    HEATMAP_LOSS=("focal", one_of("focal", "mse"),
        "Of the heatmap of centers: `focal`, or `mse`, the mean of squared differences over all "
        "cells and channels (published --mse_loss, which ends in an error there). Its outputs are "
        "the heatmap itself, without a sigmoid, and start at 0, not at PRIOR_BIAS. It is far "
        "smaller than `focal`: HEATMAP_WEIGHT has to make up for that."),
    HEATMAP_WEIGHT=(1.0, weight, "Of the heatmap loss."),
    OFFSET_WEIGHT=(1.0, weight, "Of the loss of the offset within a cell."),
    REGRESSION_LOSS=("l1", one_of("l1", "smooth_l1"), "Distance of regressed values. The published "
        "smooth L1 has REGRESSION_NORMALIZER `objects`; with `elements` it is half as large."),
    REGRESSION_NORMALIZER=("elements", one_of("elements", "objects", "max_objects"),
        "`elements`: divide by objects x channels (published code); `objects`: by the number of "
        "objects (the paper's 1/N); `max_objects`: by 50 x images x channels (published code for "
        "3-D boxes)."),
    BORDER=("last_cell", one_of("last_cell", "map"),
        "Where boxes are cut before center and size are taken: `last_cell`, at the beginning of "
        "the map's last column and row (published: objects at the right and lower border are "
        "learned one cell too short), or `map`, at its end."),
    IGNORED_REGION=("center", one_of("center", "box"),
        "What of an ignored object (`gt_ignored`, KITTI's vans and DontCare regions) is no "
        "negative: `center` (published: its Gaussian, and nothing is learned at its cell) or `box` "
        "(the cells of its box; published --rect_mask)."),
)
BOX2D = block(
    "MODEL.POINTS_CENTERNET.BOX2D", 'The point task "box2d": boxes in the image.',
    SIZE_WEIGHT=(0.1, weight, "Of the loss of width and height."),
    SIZE_FORM=("cells", one_of("cells", "log"),
        "What the branch says of width and height: `cells` (published) or `log`, the logarithm of "
        "cells / 8. With `log`, SIZE_WEIGHT 1 or more, errors count relative to the object, and "
        "training from scratch comes sooner to the sizes, as no output has to grow to tens."),
    GIOU_WEIGHT=(0.0, weight,
        "Of a further loss, 1 - GIoU of the box that size and offset make (Rezatofighi et al. "
        "2019), mean over objects; 0: there is none (published)."),
    CLASS_SPECIFIC_SIZE=(False, flag, "One (width, height) pair per class."),
    SIZE_BOUNDS=([], listed(number(above=0)),
        "Several sizes per point (the paper's multiple anchors, section 6.1.1): ascending sides, "
        "roots of the area in pixels of the canvas, between them. Each size has its own heatmap of "
        "each class and its own width and height, so that objects of one class that share a center "
        "are found where their sizes differ. []: one size."),
    DENSE_SIZE=(False, flag,
        "Learn sizes in all cells of an object's Gaussian, weighted by it, not at centers alone "
        "(--dense_wh, of which the published code leaves half of the cells at size 0, as it "
        "compares a Gaussian with itself in another precision; here every cell has its size)."),
    SIZE_AS_POINT=(False, flag,
        "Map sizes to the image as if they were points, shift of the canvas included: what the "
        "published code for 3-D boxes does (about 1 pixel of height on KITTI), to repeat its "
        "numbers, as TEST.PROTOCOL published does."),
    NMS=("none", one_of("none", "hard", "linear", "gaussian"),
        "Overlapping detections of one class: `none` (published single-scale default), `hard` (NMS "
        "at NMS_THRESHOLD), `linear` or `gaussian` (soft-NMS with what else TEST.SOFT_NMS says; "
        "published --nms: `gaussian`). Several TEST.SCALES are united by TEST.SOFT_NMS whatever "
        "stands here, and `hard` then acts on the union."),
    NMS_THRESHOLD=(0.5, share, "IoU, of `hard` and `linear`."),
)
POSE = block(
    "MODEL.POINTS_CENTERNET.POSE",
    'The point task "pose": joints of persons, or of whatever a dataset gives joints to. It stands '
    'beside "box2d" in TASKS: its detections have boxes. What NUM_JOINTS, FLIP_INDICES and CLASSES '
    "leave open `centernet_d2.setup(cfg)` takes from the datasets' metadata, the first two from "
    "MODEL.WEIGHTS where these name no joints.",
    NUM_JOINTS=(0, whole(), "Number of joints; 0: the datasets'."),
    FLIP_INDICES=([], listed(whole(), distinct=True),
        "For each joint the one that takes its place in a flip (left and right exchanged). [] with "
        "any flip (INPUT.FLIP_PROBABILITY, TEST.FLIP) is an error after `setup`, and so is another "
        "order than the datasets'."),
    CLASSES=([], listed(whole(), distinct=True),
        "Indices of the classes that have joints; []: all. Objects of other classes are boxes."),
    JOINT_HEATMAP=(True, flag,
        'Joint heatmap, to whose peaks regressed joints snap. False: the paper\'s "reg" row, only '
        "the displacement (published --not_hm_hp)."),
    HEATMAP_LOSS=("focal", one_of("focal", "mse"),
        "Of the joint heatmap, as MODEL.POINTS_CENTERNET.HEATMAP_LOSS is of centers (published "
        "--mse_loss of poses, where centers keep `focal`)."),
    JOINT_OFFSET=(True, flag, "Where in their cell the peaks lie; only with JOINT_HEATMAP."),
    DENSE_DISPLACEMENT=(False, flag,
        "Learn displacements in all cells of a center's Gaussian, weighted by it and from each "
        "cell itself, not at centers alone (published --dense_hp)."),
    DISPLACEMENT_WEIGHT=(1.0, weight, "Of the loss of the joints' distance from the center."),
    HEATMAP_WEIGHT=(1.0, weight, "Of the loss of the joints' heatmap."),
    OFFSET_WEIGHT=(1.0, weight, "Of the loss of the joints' offset within a cell."),
    REGRESS_UNLABELLED=(False, flag,
        "Persons of whom no joint is labelled (COCO's crowds and distant ones) are positives of "
        "the heatmap. False: their offset and size are not learned (published); True: like "
        "anybody's."),
    SNAPPING=("published", one_of("published", "paper", "none"),
        "Where regressed joints move to. `published`: the nearest peak of all, if it lies in the "
        "box and within SNAP_DISTANCE; `paper`: the nearest of the peaks in the box; `none`: "
        'nowhere, which is "reg" with the weights of "jd".'),
    CANDIDATES=(100, whole(1), "Peaks looked at per joint and image."),
    CANDIDATE_SCORE=(0.1, share, "Peaks at or below are none."),
    SNAP_DISTANCE=(0.3, weight, "Of `published`, in longer sides of the box."),
)
PROJECTION = listed(number(), count=4)
BOX3D = block(
    "MODEL.POINTS_CENTERNET.BOX3D",
    'The point task "box3d": boxes in the camera frame from one image (KITTI). It stands beside '
    '"box2d" in TASKS: its detections have boxes in the image too.',
    DEPTH_WEIGHT=(1.0, weight, "Of the loss of the depth."),
    DIMENSIONS_WEIGHT=(1.0, weight, "Of the loss of height, width and length."),
    ORIENTATION_WEIGHT=(1.0, weight, "Of the loss of the heading."),
    NORMALIZER=("max_objects", one_of("max_objects", "objects"),
        "`max_objects`: divide by 50 x images x channels (published, so these losses weigh little "
        "beside the heatmap's); `objects`: by the objects (the paper's 1/N)."),
    ORIENTATION_LOSS=("smooth_l1", one_of("smooth_l1", "l1"),
        "Of the orientation's sine and cosine: `smooth_l1` (published) or `l1` (the paper's, which "
        "also asks for the last degrees)."),
    CALIBRATION=("each", one_of("each", "first"),
        "`each`: every image's own projection; `first`: that of the first image of a batch for all "
        "(published code, right only for batches of one)."),
    DEFAULT_PROJECTION=(
        [[707.0493, 0.0, 604.0814, 45.75831],
         [0.0, 707.0493, 180.5066, -0.3454157],
         [0.0, 0.0, 1.0, 0.004981016]],
        Rule("3 x 4 numbers", listed(PROJECTION, count=3).accepts),
        "Camera of an input that brings no projection, 3 x 4 in pixels of images of DEFAULT_SIZE; "
        "scaled to the image, and said once."),
    DEFAULT_SIZE=([375, 1242], size, "(height, width) of the images of DEFAULT_PROJECTION."),
)
CORNERNET = block(
    "MODEL.CORNERNET", "CornerNet, and what triplet CenterNet shares with it.",
    POOLING=("corner", one_of("corner", "cascade"),
        "Module before the corners' branches: `corner` (CornerNet's corner pooling) or `cascade` "
        "(triplet CenterNet's)."),
    CASCADE_ORDER=("inside_first", one_of("inside_first", "boundary_first"),
        "`cascade` looks inside from each cell, then along the boundary (published code), or along "
        "the boundary, then inside from its maximum (the paper's text)."),
    POOLS=(True, flag,
        "False leaves the pools out of either module, which keeps its convolutions and so all its "
        "parameters (CornerNet's Table 1)."),
    POOL_CHANNELS=(128, channels, "Width of the module's two pooled branches."),
    HEAD_CHANNELS=(256, channels,
        "Width of the module's output and of each branch's 3x3 convolution."),
    NORM=("BN", norm, "Normalisation of the modules."),
    NORM_INIT=("uniform", one_of("ones", "uniform"),
        "Factors of the modules' normalisation start at `ones` or `uniform` in (0, 1): torch 0.4's "
        "start, with which all published weights were trained from scratch. From `ones` the first "
        "outputs are about twice as large. See also MODEL.HOURGLASS.NORM_INIT."),
    SIGMA_RULE=("window", one_of("window", "radius"),
        "Sigma at corners: a sixth of the `window`, 2 r + 1 (published code), or a third of the "
        "`radius` r (the paper's text). The centers' has a divisor of its own."),
    HEATMAP_WEIGHT=(1.0, weight, "Of the heatmap losses."),
    OFFSET_WEIGHT=(1.0, weight, "Of the losses of the offset within a cell."),
    OFFSET_LOSS=("smooth_l1", one_of("smooth_l1", "l1"),
        "Of the offsets: `smooth_l1` (CornerNet, and the triplet's code) or `l1` (its text)."),
    PULL_WEIGHT=(0.1, weight,
        "Of the loss that draws embeddings of one object's corners together."),
    PUSH_WEIGHT=(0.1, weight,
        "Of the loss that keeps mean embeddings of different objects of an image apart."),
    EMBEDDING_REDUCTION=("sum", one_of("sum", "mean"),
        "Embedding losses of a batch: `sum` over its images (published: their weight against the "
        "other losses grows with the images per GPU, 4 to 6 there) or `mean` (independent of the "
        "batch; about 5 times the weights above match the published training)."),
    STACK_REDUCTION=("mean", one_of("mean", "sum"),
        "Losses of several stacks: `mean` (published code) or `sum` (the paper's formula: as many "
        "times larger as there are stacks)."),
    EMBEDDING_THRESHOLD=(0.5, weight,
        "Corners whose embeddings differ by more are not of one object (published: 0.5)."),
    MAX_PAIRS=(1000, whole(1), "Pairs kept per view, best first (published)."),
    OUTSIDE_MARGIN=(-1.0, number(),
        "Pairs that reach this many pixels over the image are dropped, in the view's own scale; "
        "-1: none are, all are clipped (published: -1 for CornerNet, 5 for the triplet)."),
    FLIP_CONVENTION=("edge", one_of("edge", "pixel"),
        "Where a box of a flipped image lies in the image: `edge` x' = w - x on the output map "
        "(published, one network pixel to the right of the original) or `pixel`, exactly where the "
        "original lies."),
    MERGE_BOXES=("several_scales", one_of("several_scales", "always", "never"),
        "Boxes become weighted means with those that they overlap in TEST.SOFT_NMS: "
        "`several_scales` (published: with several TEST.SCALES only), `always` or `never`."),
    MERGE_EXPONENT=(10.0, weight, "Larger: only boxes that overlap more count."),
)
TRIPLET = block(
    "MODEL.TRIPLET_CENTERNET", "Triplet CenterNet's center.",
    POOLING=("center", one_of("center", "none"),
        "Module before the center's branches: `center` (center pooling) or `none` (its pools left "
        "out)."),
    CENTER_SIGMA_DIVISOR=(5.0, number(above=0),
        "Side of a Gaussian's window over its sigma, at centers (published: 5, at corners 6)."),
    CENTER_WEIGHT=(1.0, weight, "Of the center's heatmap and offset losses."),
    REGION_SIDE=(150.0, weight,
        "A pair stays if a center of its class lies in its central region, its middle n-th part "
        "along both axes: n is REGION_PARTS[0] for boxes up to REGION_SIDE squared pixels of the "
        "image, REGION_PARTS[1] above."),
    REGION_PARTS=([3, 5], listed(whole(1, odd=True), count=2), "See REGION_SIDE."),
    CENTER_CHOICE=("first", one_of("first", "best"),
        "Score of the center that counts among several: `first` in the order original, then "
        "flipped image, each best first (published: a lower one of the original hides a higher one "
        "of the flipped image), or `best`."),
    CENTER_SCALES=("original", one_of("original", "all"),
        "Centers of several TEST.SCALES: `original`, those seen at scale 1 (published), or `all`."),
)
RESNET_DECONV = block(
    "MODEL.RESNET_DECONV",
    'ResNet whose last map is up-sampled three times ("Simple Baselines"; the points paper adds '
    "deformable convolutions).",
    DEPTH=(18, one_of(18, 34, 50, 101, 152), "Layers."),
    UPSAMPLE=("deform", one_of("deform", "plain", "conv"),
        "`deform`: published resdcn; `plain`: published res; `conv`: mmdetection's variant without "
        "deformable convolution."),
    NORM=("BN", norm, "Normalisation."),
    UPSAMPLE_INIT=("", one_of("first_channel_bilinear", "bilinear", "normal", ""),
        "Up-convolutions start `first_channel_bilinear` (as published: only output channel 0 is "
        "filled), `bilinear` (as the paper says) or `normal` (N(0, 0.001): published plain "
        "variant). Empty: the published one of UPSAMPLE."),
)
DLA = block(
    "MODEL.DLA", "DLA-34, deep layer aggregation.",
    UPSAMPLE=("deform", one_of("deform", "plain"),
        "Way back to stride 4. `deform`: the points paper's (published dla_34); `plain`: the DLA "
        "paper's (published dlav0_34)."),
    NORM=("BN", norm, "Normalisation."),
    CHANNELS=([16, 32, 64, 128, 256, 512], listed(channels, count=6),
        "At strides 1, 2, 4 (the output's), 8, 16, 32."),
    DEPTHS=([1, 1, 1, 2, 2, 1], listed(whole(1), count=6),
        "Convolutions at strides 1, 2; depths of the trees."),
)
HOURGLASS = block(
    "MODEL.HOURGLASS",
    "Stacked hourglass. The defaults are Hourglass-104; STACKS 1 is Hourglass-52.",
    STACKS=(2, whole(1), 'Outputs "stack1", "stack2", ...'),
    CHANNELS=([256, 256, 384, 384, 384, 512], listed(channels, least=2),
        "At strides 4, 8, 16, 32, 64, 128."),
    BLOCKS=([2, 2, 2, 2, 2, 4], listed(whole(1), least=2),
        "Residual blocks of each path at these strides, as many entries as CHANNELS."),
    STEM_CHANNELS=(128, channels, "At stride 2."),
    STEM_KERNEL=(7, whole(1, odd=True), "Side of the first convolution."),
    OUT_CHANNELS=(256, channels, "Of each stack's output."),
    NORM=("BN", norm, "Normalisation."),
    NORM_INIT=("ones", one_of("ones", "uniform"),
        "Factors of the normalisation start at `ones` or `uniform` in (0, 1): torch 0.4's start, "
        "with which CornerNet trained from scratch."),
    PYRAMID=(False, flag, 'All maps on the way up, "stack1_p3" ..., for StackedRetinaNet.'),
    RECOMPUTE=(False, flag,
        "Activation checkpointing of training: residual blocks keep their input alone and are "
        "computed again in the backward pass, for which an image keeps two fifths of the memory; a "
        "step takes a quarter longer (Hourglass-104, on a CPU). Gradients are the same."),
)
TIMM = block(
    "MODEL.TIMM",
    "A model of the package timm with maps of strides 4, 8, 16 ..., decoded to stride 4. Its "
    'pre-trained weights are MODEL.WEIGHTS "timm:<NAME>".',
    NAME=("resnet18", word, "One of `timm.list_models()`."),
    OUT_CHANNELS=(64, channels, "Of the decoder's output."),
    NORM=("BN", norm, "Normalisation of the decoder; the model of timm keeps its own."),
)
ENCODER_DECODER = block(
    "MODEL.ENCODER_DECODER",
    "Small encoder-decoder with skip connections for small data and CPUs (stride 4 out).",
    CHANNELS=([32, 64, 96, 128], widths, "At strides 4, 8, 16, 32."),
    BLOCKS=([1, 1, 1, 1], listed(whole(1), least=1),
        "Residual blocks at each stride, as many entries as CHANNELS."),
    OUT_CHANNELS=(64, channels, "Of the output."),
    NORM=("BN", norm, "Normalisation."),
)
# fmt: on
MODEL_BLOCKS = (
    *(GENERAL, HEATMAP, POINTS, BOX2D, POSE, BOX3D, CORNERNET, TRIPLET),
    *(RESNET_DECONV, DLA, HOURGLASS, TIMM, ENCODER_DECODER),
)
