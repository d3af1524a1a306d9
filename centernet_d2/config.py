"""Config keys of this package, added to a detectron2 config by `add_centernet_config`.

Every key has its meaning, unit and source beside it. The defaults are the recipe that the points
paper's published weights were trained with; a value that is an inherited oddity is *named*, so that
another choice is one word away.
"""

from __future__ import annotations

from detectron2.config import CfgNode as CN


def add_centernet_config(cfg: CN) -> None:
    """Add the keys of CornerNet, triplet CenterNet and points CenterNet to `cfg`, in place.

    Calling it twice is harmless: keys that are already there keep their values.
    """
    if "HEATMAP" not in cfg.MODEL:
        # Freeze the first so many stages of the backbone, the stem among them: no gradients, norms
        # with fixed statistics. All recipes here train everything; detectron2's default is 2.
        cfg.MODEL.BACKBONE.FREEZE_AT = 0
    for path, block in {
        "MODEL": _model_keys(),
        "INPUT": _input_keys(),
        "SOLVER": _solver_keys(),
        "TEST": _test_keys(),
        "DATASETS": _dataset_keys(),
    }.items():
        _add_missing(cfg[path], block)
    _add_missing(cfg, _kitti_keys())


def _add_missing(node: CN, additions: CN) -> None:
    for key, value in additions.items():
        if isinstance(value, CN) and key in node:
            _add_missing(node[key], value)
        elif key not in node:
            node[key] = value


def _model_keys() -> CN:
    keys = CN()
    # "fail": an error when a checkpoint lacks or misshapes parameters of the model; "report": a
    # printed summary.
    keys.CHECKPOINT_MISMATCH = "report"
    _add_heatmap_keys(keys)
    _add_points_keys(keys)
    _add_corner_keys(keys)
    _add_backbone_keys(keys)
    return keys


def _add_heatmap_keys(keys: CN) -> None:
    """Shared by all detectors that find objects on a heatmap."""
    keys.HEATMAP = CN()
    # Number of classes. 0: taken from the training dataset's metadata by `centernet_d2.setup(cfg)`.
    keys.HEATMAP.NUM_CLASSES = 80
    # Backbone outputs that carry a prediction, all of one stride. Each is supervised, the last one
    # predicts.
    keys.HEATMAP.IN_FEATURES = ["deconv"]
    # Object -> Gaussian radius: "legacy" (published points and triplet code: larger root, radius
    # 3.3 times the exact one), "exact" (CornerNet's later correction), "fixed" (FIXED_RADIUS),
    # "none" (a single positive cell).
    keys.HEATMAP.RADIUS_RULE = "legacy"
    keys.HEATMAP.MIN_OVERLAP = 0.7  # overlap that the radius guarantees (points 0.7, corners 0.3)
    keys.HEATMAP.FIXED_RADIUS = 2  # cells, for RADIUS_RULE "fixed"
    # Take the radius of the size rounded up to whole cells (published for 2-D boxes and poses); for
    # 3-D boxes the published code does not round.
    keys.HEATMAP.RADIUS_ROUND_UP = True
    # Bias of the last layer of every heatmap branch: prior of about 0.1 (published value).
    keys.HEATMAP.PRIOR_BIAS = -2.19
    keys.HEATMAP.FOCAL_ALPHA = 2.0  # exponent on the error of the prediction
    keys.HEATMAP.FOCAL_BETA = 4.0  # exponent that lowers the weight of cells near a center
    keys.HEATMAP.PEAK_KERNEL = 3  # side of the window in which a peak must be the maximum, odd
    # Peaks kept per image, over all classes; of corners and their centers per kind of keypoint and
    # per view (published: 100 for CornerNet, 70 for the triplet).
    keys.HEATMAP.TOP_K = 100
    # Detections at or below are dropped; 0: nothing is dropped (published).
    keys.HEATMAP.SCORE_THRESHOLD = 0.0
    # Run in channels-last memory format (the deformable convolution needs it on a CPU; faster under
    # AMP on CUDA).
    keys.HEATMAP.CHANNELS_LAST = True


def _add_points_keys(keys: CN) -> None:
    """Points CenterNet, "Objects as Points"."""
    keys.POINTS_CENTERNET = CN()
    keys.POINTS_CENTERNET.TASKS = [
        "box2d"
    ]  # registered point tasks; each adds its branches and fields
    # Width of the 3x3 convolution before each branch's 1x1; 0: a single 1x1. Published code: 64 for
    # ResNet, 256 for DLA.
    keys.POINTS_CENTERNET.HEAD_CHANNELS = 64
    # How regression branches start: "normal" (N(0, 0.001), zero bias: published resdcn),
    # "last_normal" (only the last
    # layer: published res), "zero_bias" (published dla), "torch" (torch defaults: published
    #     hourglass).
    keys.POINTS_CENTERNET.REGRESSION_INIT = "normal"
    keys.POINTS_CENTERNET.HEATMAP_WEIGHT = 1.0
    keys.POINTS_CENTERNET.OFFSET_WEIGHT = 1.0
    keys.POINTS_CENTERNET.REGRESSION_LOSS = "l1"  # "l1" or "smooth_l1"
    # "elements": divide by objects x channels (published code); "objects": by the number of objects
    # (the paper's 1/N); "max_objects": by 50 x images x channels (published code for 3-D
    # boxes).
    keys.POINTS_CENTERNET.REGRESSION_NORMALIZER = "elements"
    # What of an ignored object (`gt_ignored`, KITTI's vans and DontCare regions) is no negative:
    # "center" (published: its Gaussian, and nothing is learned at its cell) or "box" (the cells of
    # its box; published --rect_mask).
    keys.POINTS_CENTERNET.IGNORED_REGION = "center"
    keys.POINTS_CENTERNET.BOX2D = CN()
    keys.POINTS_CENTERNET.BOX2D.SIZE_WEIGHT = 0.1
    keys.POINTS_CENTERNET.BOX2D.CLASS_SPECIFIC_SIZE = False  # one (width, height) pair per class
    # Map sizes to the image as if they were points, shift of the canvas included: what the
    # published code for 3-D boxes does (about 1 pixel of height on KITTI), to repeat its numbers.
    keys.POINTS_CENTERNET.BOX2D.SIZE_AS_POINT = False
    # Overlapping detections of one class: "none" (published single-scale default), "hard" (NMS at
    # NMS_THRESHOLD), "linear" or "gaussian" (soft-NMS with what else TEST.SOFT_NMS says; published
    # --nms: "gaussian"). Several TEST.SCALES are united by TEST.SOFT_NMS whatever stands here,
    # and "hard" then acts on the union.
    keys.POINTS_CENTERNET.BOX2D.NMS = "none"
    keys.POINTS_CENTERNET.BOX2D.NMS_THRESHOLD = 0.5
    _add_pose_keys(keys.POINTS_CENTERNET)
    _add_box3d_keys(keys.POINTS_CENTERNET)


def _add_pose_keys(points: CN) -> None:
    """The point task "pose": joints of persons, or of whatever a dataset gives joints to.

    It stands beside "box2d" in TASKS: its detections have boxes.
    """
    points.POSE = CN()
    # What the next three leave open `centernet_d2.setup(cfg)` takes from the datasets' metadata.
    points.POSE.NUM_JOINTS = 0
    # For each joint the one that takes its place in a flip (left and right exchanged). [] with
    # any flip (INPUT.FLIP_PROBABILITY, TEST.FLIP) is an error after `setup`, and so is another
    # order than the datasets'.
    points.POSE.FLIP_INDICES = []
    # Indices of the classes that have joints; []: all. Objects of other classes are boxes.
    points.POSE.CLASSES = []
    # Joint heatmap, to whose peaks regressed joints snap. False: the paper's "reg" row, only the
    # displacement (published --not_hm_hp).
    points.POSE.JOINT_HEATMAP = True
    points.POSE.JOINT_OFFSET = True  # where in their cell the peaks lie; only with JOINT_HEATMAP
    points.POSE.DISPLACEMENT_WEIGHT = 1.0
    points.POSE.HEATMAP_WEIGHT = 1.0
    points.POSE.OFFSET_WEIGHT = 1.0
    # Persons of whom no joint is labelled (COCO's crowds and distant ones) are positives of the
    # heatmap. False: their offset and size are not learned (published); True: like anybody's.
    points.POSE.REGRESS_UNLABELLED = False
    # Where regressed joints move to. "published": the nearest peak of all, if it lies in the box
    # and within SNAP_DISTANCE; "paper": the nearest of the peaks in the box; "none": nowhere, which
    # is "reg" with the weights of "jd".
    points.POSE.SNAPPING = "published"
    points.POSE.CANDIDATES = 100  # peaks looked at per joint and image
    points.POSE.CANDIDATE_SCORE = 0.1  # peaks at or below are none
    points.POSE.SNAP_DISTANCE = 0.3  # of "published", in longer sides of the box


def _add_box3d_keys(points: CN) -> None:
    """The point task "box3d": boxes in the camera frame from one image (KITTI).

    It stands beside "box2d" in TASKS: its detections have boxes in the image too.
    """
    points.BOX3D = CN()
    points.BOX3D.DEPTH_WEIGHT = 1.0
    points.BOX3D.DIMENSIONS_WEIGHT = 1.0
    points.BOX3D.ORIENTATION_WEIGHT = 1.0
    # "max_objects": divide by 50 x images x channels (published, so these losses weigh little
    # beside the heatmap's); "objects": by the objects (the paper's 1/N).
    points.BOX3D.NORMALIZER = "max_objects"
    # Of the orientation's sine and cosine: "smooth_l1" (published) or "l1" (the paper's, which
    # also asks for the last degrees).
    points.BOX3D.ORIENTATION_LOSS = "smooth_l1"
    # "each": every image's own projection; "first": that of the first image of a batch for all
    # (published code, right only for batches of one).
    points.BOX3D.CALIBRATION = "each"
    # Camera of an input that brings no projection, 3 x 4 in pixels of images of DEFAULT_SIZE
    # (height, width); scaled to the image, and said once.
    points.BOX3D.DEFAULT_PROJECTION = [
        [707.0493, 0.0, 604.0814, 45.75831],
        [0.0, 707.0493, 180.5066, -0.3454157],
        [0.0, 0.0, 1.0, 0.004981016],
    ]
    points.BOX3D.DEFAULT_SIZE = [375, 1242]


def _add_corner_keys(keys: CN) -> None:
    """CornerNet, and what triplet CenterNet shares with it; then the triplet's center."""
    corner = keys.CORNERNET = CN()
    # Module before the corners' branches: "corner" (CornerNet's corner pooling) or "cascade"
    # (triplet CenterNet's).
    corner.POOLING = "corner"
    # False leaves the pools out of either module, which keeps its convolutions and so all its
    # parameters (CornerNet's Table 1).
    corner.POOLS = True
    corner.POOL_CHANNELS = 128  # width of the module's two pooled branches
    corner.HEAD_CHANNELS = 256  # width of the module's output and of each branch's 3x3 convolution
    corner.NORM = "BN"  # of the modules
    # Factors of the modules' normalisation start at "ones" or "uniform" in (0, 1): torch 0.4's
    # start, with which all published weights were trained from scratch. From "ones" the first
    # outputs are about twice as large. See also MODEL.HOURGLASS.NORM_INIT.
    corner.NORM_INIT = "uniform"
    corner.HEATMAP_WEIGHT = 1.0
    corner.OFFSET_WEIGHT = 1.0
    corner.PULL_WEIGHT = 0.1  # embeddings of one object's corners together
    corner.PUSH_WEIGHT = 0.1  # mean embeddings of different objects of an image apart
    # Embedding losses of a batch: "sum" over its images (published: their weight against the other
    # losses grows with the images per GPU, 4 to 6 there) or "mean" (independent of the batch; about
    # 5 times the weights above match the published training).
    corner.EMBEDDING_REDUCTION = "sum"
    # Losses of several stacks: "mean" (published code) or "sum" (the paper's formula: as many times
    # larger as there are stacks).
    corner.STACK_REDUCTION = "mean"
    # Corners whose embeddings differ by more are not of one object (published: 0.5).
    corner.EMBEDDING_THRESHOLD = 0.5
    corner.MAX_PAIRS = 1000  # pairs kept per view, best first (published)
    # Pairs that reach this many pixels over the image are dropped, in the view's own scale; -1:
    # none are, all are clipped (published: -1 for CornerNet, 5 for the triplet).
    corner.OUTSIDE_MARGIN = -1.0
    # Where a box of a flipped image lies in the image: "edge" x' = w - x on the output map
    # (published, one network pixel to the right of the original) or "pixel", exactly where the
    # original lies.
    corner.FLIP_CONVENTION = "edge"
    # Boxes become weighted means with those that they overlap in TEST.SOFT_NMS: "several_scales"
    # (published: with several TEST.SCALES only), "always" or "never".
    corner.MERGE_BOXES = "several_scales"
    corner.MERGE_EXPONENT = 10.0  # larger: only boxes that overlap more count
    triplet = keys.TRIPLET_CENTERNET = CN()
    # Module before the center's branches: "center" (center pooling) or "none" (its pools left out).
    triplet.POOLING = "center"
    # Side of a Gaussian's window over its sigma, at centers (published: 5, at corners 6).
    triplet.CENTER_SIGMA_DIVISOR = 5.0
    triplet.CENTER_WEIGHT = 1.0  # of the center's heatmap and offset losses
    # A pair stays if a center of its class lies in its central region, its middle n-th part along
    # both axes: n is REGION_PARTS[0] for boxes up to REGION_SIDE squared pixels of the image,
    # REGION_PARTS[1] above.
    triplet.REGION_SIDE = 150.0
    triplet.REGION_PARTS = [3, 5]
    # Score of the center that counts among several: "first" in the order original, then flip
    # image, each best first (published: a lower one of the original hides a higher one of the
    # flipped image), or "best".
    triplet.CENTER_CHOICE = "first"
    # Centers of several TEST.SCALES: "original", those seen at scale 1 (published), or "all".
    triplet.CENTER_SCALES = "original"


def _add_backbone_keys(keys: CN) -> None:
    # ResNet whose last map is up-sampled three times ("Simple Baselines"; the points paper adds
    # deformable convolutions).
    keys.RESNET_DECONV = CN()
    keys.RESNET_DECONV.DEPTH = 18  # 18, 34, 50, 101, 152
    keys.RESNET_DECONV.UPSAMPLE = "deform"  # "deform": published resdcn; "plain": published res
    keys.RESNET_DECONV.NORM = "BN"  # any detectron2 norm name: BN, SyncBN, GN, FrozenBN ...
    # Up-convolutions start "first_channel_bilinear" (as published: only output channel 0 is
    # filled), "bilinear" (as the paper says) or "normal" (N(0, 0.001): published plain variant). ""
    # picks the published one of UPSAMPLE.
    keys.RESNET_DECONV.UPSAMPLE_INIT = ""
    # DLA-34, deep layer aggregation.
    keys.DLA = CN()
    # Way back to stride 4. "deform": the points paper's (published dla_34); "plain": the DLA
    # paper's (published dlav0_34).
    keys.DLA.UPSAMPLE = "deform"
    keys.DLA.NORM = "BN"
    keys.DLA.CHANNELS = [16, 32, 64, 128, 256, 512]  # at strides 1, 2, 4 (the output's), 8, 16, 32
    keys.DLA.DEPTHS = [1, 1, 1, 2, 2, 1]  # convolutions at strides 1, 2; depths of the trees
    # Stacked hourglass. The defaults are Hourglass-104; STACKS 1 is Hourglass-52.
    keys.HOURGLASS = CN()
    keys.HOURGLASS.STACKS = 2  # outputs "stack1", "stack2", ...
    keys.HOURGLASS.CHANNELS = [256, 256, 384, 384, 384, 512]  # at strides 4, 8, 16, 32, 64, 128
    keys.HOURGLASS.BLOCKS = [2, 2, 2, 2, 2, 4]  # residual blocks of each path at these strides
    keys.HOURGLASS.STEM_CHANNELS = 128  # at stride 2
    keys.HOURGLASS.STEM_KERNEL = 7
    keys.HOURGLASS.OUT_CHANNELS = 256
    keys.HOURGLASS.NORM = "BN"
    # Factors of the normalisation start at "ones" or "uniform" in (0, 1): torch 0.4's start, with
    # which CornerNet trained from scratch.
    keys.HOURGLASS.NORM_INIT = "ones"
    # A model of the package timm with maps of strides 4, 8, 16 ..., decoded to stride 4. Its
    # pre-trained weights are MODEL.WEIGHTS "timm:<NAME>".
    keys.TIMM = CN()
    keys.TIMM.NAME = "resnet18"
    keys.TIMM.OUT_CHANNELS = 64
    keys.TIMM.NORM = "BN"  # of the decoder; the model of timm keeps its own
    # Small encoder-decoder with skip connections for small data and CPUs (stride 4 out).
    keys.ENCODER_DECODER = CN()
    keys.ENCODER_DECODER.CHANNELS = [32, 64, 96, 128]  # at strides 4, 8, 16, 32
    keys.ENCODER_DECODER.BLOCKS = [1, 1, 1, 1]  # residual blocks at each stride
    keys.ENCODER_DECODER.OUT_CHANNELS = 64
    keys.ENCODER_DECODER.NORM = "BN"


def _input_keys() -> CN:
    keys = CN()
    keys.TRAIN_SIZE = [512, 512]  # (height, width) of the training crop, network frame
    # "random_crop": side times one of CROP_SCALES, center drawn with a border (published default);
    # "shift_scale": Gaussian shift and scale (published --not_rand_crop); "none": the image centred
    # and scaled to fit.
    keys.CENTER_CROP = "random_crop"
    keys.CROP_SCALES = [
        0.6,
        0.7,
        0.8,
        0.9,
        1.0,
        1.1,
        1.2,
        1.3,
    ]  # of CROP_BASE's side; larger: smaller objects
    # What CROP_SCALES multiply: "image", the image's side (published points training), or "output",
    # TRAIN_SIZE in pixels of the image, whatever its size (published corner training).
    keys.CROP_BASE = "image"
    keys.CROP_BORDER = (
        128  # pixels that the crop's center keeps from the border, halved for small images
    )
    keys.SHIFT = 0.1  # "shift_scale": standard deviation of the shift, in sides
    keys.SCALE = 0.4  # "shift_scale": standard deviation of the scale
    # Turn around the crop's center: standard deviation in degrees, clipped at twice that; 0: off
    # (published default). Boxes become the upright box around the turned one, and everything is
    # learned from turned images: the published code leaves boxes as they were, and so learns only
    # the joint heatmap and the joint offset there.
    keys.ROTATION = 0.0
    keys.ROTATION_PROBABILITY = 1.0  # share of samples that ROTATION turns
    keys.FLIP_PROBABILITY = 0.5
    # "pixel": x' = W - 1 - x (published); "edge": x' = W - x (detectron2).
    keys.FLIP_CONVENTION = "pixel"
    keys.COLOR_JITTER = (
        0.4  # brightness, contrast, saturation: factor 1 + U(-j, j) in random order; 0: off
    )
    keys.PCA_LIGHTING = (
        0.1  # standard deviation of the colour shift along the COCO principal axes; 0: off
    )
    # Crowd regions in training: True makes them positives as the published code does, False leaves
    # them out.
    keys.CROWD_AS_OBJECTS = True
    # VOC's difficult objects in training: True makes them positives as the published code does.
    keys.DIFFICULT_AS_OBJECTS = True
    # Training images of the point task "box3d", whose ground truth has a camera: neither crops nor
    # flipped images. Half of them are shifted and scaled by SHIFT and SCALE (of the image's width
    # and height), and those teach neither depth nor dimensions (published).
    keys.BOX3D = CN()
    # "fixed": the image's width becomes TRAIN_SIZE's (published); "keep_res": pixels stay pixels.
    keys.BOX3D.RESOLUTION = "fixed"
    keys.BOX3D.JITTER_PROBABILITY = 0.5  # share of the images that are shifted and scaled
    return keys


def _solver_keys() -> CN:
    keys = CN()
    keys.OPTIMIZER = "Adam"  # "Adam", "AdamW" or "SGD"
    # BASE_LR belongs to this batch size; the learning rate used is BASE_LR * IMS_PER_BATCH /
    # BASE_BATCH_SIZE.
    # 0: BASE_LR is used as it is.
    keys.BASE_BATCH_SIZE = 0
    keys.EPOCHS = 0  # 0: MAX_ITER and STEPS are used as they are
    # The learning rate is multiplied by GAMMA after each of these epochs; []: after the iterations
    # of STEPS.
    keys.EPOCH_STEPS = []
    keys.CHECKPOINT_EPOCHS = 0  # 0: CHECKPOINT_PERIOD iterations
    keys.AMP_DTYPE = "float16"  # dtype of SOLVER.AMP: "float16" or "bfloat16"
    keys.EMA_DECAY = (
        0.0  # decay of an exponential moving average of the weights, used for evaluation; 0: off
    )
    keys.BEST_METRIC = ""  # e.g. "bbox/AP": keeps model_best.pth by this evaluation result; "": off
    return keys


def _test_keys() -> CN:
    keys = CN()
    # "keep_res": original pixels, centred on a black canvas; "fixed": scaled to fit FIXED_SIZE,
    # centred.
    keys.RESOLUTION = "keep_res"
    keys.FIXED_SIZE = [512, 512]  # (height, width), network frame
    # How "fixed" scales: "whole", the whole image fits; "width", its width does, and what is too
    # high is cut evenly above and below (published for KITTI); "none", pixels stay pixels.
    keys.FIXED_FIT = "whole"
    # keep_res canvas: "strict" = next multiple of the divisor that is strictly larger (published:
    # 512 -> 544); "fit" = smallest multiple that holds the image (512 -> 512, faster); "odd" = one
    # pixel less than a multiple (published for corners: 480 -> 511, 512 -> 639), also in training.
    keys.CANVAS = "strict"
    # ---- test-time augmentation, inside the model: every way of predicting sees it ----
    # (TEST.AUG is detectron2's own, for its R-CNN models; nothing here reads it.)
    # See each image and its flipped image: their maps are averaged, their pairs of corners united.
    keys.FLIP = False
    # Sizes at which each image is seen; published multi-scale, with FLIP: [0.5, 0.75, 1.0, 1.25,
    # 1.5], of the triplet [0.6, 1.0, 1.2, 1.5, 1.8].
    keys.SCALES = [1.0]
    # Unites detections class by class: of several SCALES, and of the corner detectors always. The
    # TEST.DETECTIONS_PER_IMAGE best of every detector stay in the end, ties with the last included
    # (published: 100; 0: no limit).
    keys.SOFT_NMS = CN()
    keys.SOFT_NMS.METHOD = "gaussian"  # "gaussian" (published), "linear" or "hard"
    keys.SOFT_NMS.SIGMA = 0.5  # of "gaussian": a score is multiplied by exp(-iou^2 / sigma)
    keys.SOFT_NMS.THRESHOLD = 0.5  # IoU above which "linear" and "hard" lower a score
    keys.SOFT_NMS.SCORE_FLOOR = 0.001  # boxes that overlap lowers below this are dropped
    # "clean", or "reference": with the stale copies of boxes that the published code leaves behind
    # dropped ones. Published results: "reference".
    keys.SOFT_NMS.MODE = "clean"
    # Width of a box: "inclusive" x2 - x1 + 1 (published) or "continuous" x2 - x1.
    keys.SOFT_NMS.EXTENT = "inclusive"
    # Images whose canvas (at any of SCALES) has more pixels are refused with an error that names
    # them; 0: no limit.
    keys.MAX_PIXELS = 0

    # ---- speed of our Predictor and of --eval-only, which know when the weights are complete ----
    keys.FOLD_NORM = (
        False  # fold batch norms into the convolutions before them; equal up to rounding
    )
    # Of backbone and head, "float32", "bfloat16" or "float16"; the layers that are decoded stay in
    # float32. Half precision moves scores and boxes a little.
    keys.DTYPE = "float32"

    # Detections in the output frame: clip to the image, drop those whose clipped box is empty. The
    # published files keep both off; detectron2's own detectors have both on.
    keys.CLIP_BOXES = False
    keys.DROP_EMPTY = False
    keys.EVAL_EPOCHS = 0  # evaluate every so many epochs; 0: EVAL_PERIOD iterations
    keys.IMS_PER_BATCH = 1  # images per process and step in evaluation; equal canvases run together
    keys.COCO_BACKEND = "pycocotools"  # or "faster-coco-eval" (optional package, equal numbers)
    # Decimals of boxes and scores before scoring; published results: 2; 0: not rounded.
    keys.ROUND_RESULTS = 0
    # COCO: also report AP60, AP70, AP80 and AP90 (CornerNet's journal version, Table 5).
    keys.PER_IOU_AP = False
    # COCO: also report FD, FD5, FD25, FD50, FD_S, FD_M, FD_L, the triplet paper's false discovery:
    # 100 minus AP at IoU .05:.05:.50. Takes as long as the other scores together.
    keys.FALSE_DISCOVERY = False
    # Pascal VOC: how a box (edges, XYXY) becomes file coordinates (pixels counted from 1).
    keys.VOC = CN()
    # "all": 1 is added to all four, as published (right and bottom end up one pixel too far);
    # "left_top": to left and top only, the inverse of how the annotations are read.
    keys.VOC.FILE_OFFSET = "all"
    # Score what the result files hold (score with 3 decimals, coordinates with 1), as published.
    keys.VOC.ROUND = True
    # KITTI: decimals of the result files, which are what is scored; the published ones have 2, of
    # the score too. 0: the scores are those of the unrounded numbers, the files have 6.
    keys.KITTI = CN()
    keys.KITTI.ROUND_RESULTS = 2
    return keys


def _kitti_keys() -> CN:
    keys = CN()
    keys.KITTI = CN()
    # Split lists may name frames whose files are not there: True goes on without them (a warning
    # counts them), False is an error.
    keys.KITTI.ALLOW_MISSING = False
    return keys


def _dataset_keys() -> CN:
    keys = CN()
    # Datasets given as files, "coco:<json>:<image dir>" or "voc:<folder>:<split>": filled by
    # `centernet_d2.setup(cfg)`, which gives each a short name in TRAIN / TEST, so that a saved
    # config registers them again.
    keys.FROM_FILES = []
    return keys
