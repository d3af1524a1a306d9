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
    for path, block in {
        "MODEL": _model_keys(),
        "INPUT": _input_keys(),
        "SOLVER": _solver_keys(),
        "TEST": _test_keys(),
        "DATASETS": _dataset_keys(),
        "DATALOADER": CN(),
    }.items():
        _add_missing(cfg[path], block)
    if "CENTERNET_D2" not in cfg:  # the marker of a config that has been through this function
        cfg.CENTERNET_D2 = True


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

    # ---- shared by all detectors that find objects on a heatmap ----
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
    # Bias of the last layer of every heatmap branch: prior of about 0.1 (published value).
    keys.HEATMAP.PRIOR_BIAS = -2.19
    keys.HEATMAP.FOCAL_ALPHA = 2.0  # exponent on the error of the prediction
    keys.HEATMAP.FOCAL_BETA = 4.0  # exponent that lowers the weight of cells near a center
    keys.HEATMAP.PEAK_KERNEL = 3  # side of the window in which a peak must be the maximum, odd
    keys.HEATMAP.TOP_K = 100  # peaks kept per image, over all classes
    keys.HEATMAP.SCORE_THRESHOLD = (
        0.0  # detections at or below are dropped; published: no threshold
    )
    # Run in channels-last memory format (the deformable convolution needs it on a CPU; faster under
    # AMP on CUDA).
    keys.HEATMAP.CHANNELS_LAST = True

    # ---- points CenterNet, "Objects as Points" ----
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
    # (the paper's 1/N).
    keys.POINTS_CENTERNET.REGRESSION_NORMALIZER = "elements"
    keys.POINTS_CENTERNET.BOX2D = CN()
    keys.POINTS_CENTERNET.BOX2D.SIZE_WEIGHT = 0.1
    keys.POINTS_CENTERNET.BOX2D.CLASS_SPECIFIC_SIZE = False  # one (width, height) pair per class
    # Overlapping detections of one class: "none" (published single-scale default) or "hard" (NMS at
    # NMS_THRESHOLD).
    keys.POINTS_CENTERNET.BOX2D.NMS = "none"
    keys.POINTS_CENTERNET.BOX2D.NMS_THRESHOLD = 0.5

    # ---- backbones ----
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
    # Small encoder-decoder with skip connections for small data and CPUs (stride 4 out).
    keys.ENCODER_DECODER = CN()
    keys.ENCODER_DECODER.CHANNELS = [32, 64, 96, 128]  # at strides 4, 8, 16, 32
    keys.ENCODER_DECODER.BLOCKS = [1, 1, 1, 1]  # residual blocks at each stride
    keys.ENCODER_DECODER.OUT_CHANNELS = 64
    keys.ENCODER_DECODER.NORM = "BN"
    return keys


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
    ]  # of max(height, width); larger: smaller objects
    keys.CROP_BORDER = (
        128  # pixels that the crop's center keeps from the border, halved for small images
    )
    keys.SHIFT = 0.1  # "shift_scale": standard deviation of the shift, in sides
    keys.SCALE = 0.4  # "shift_scale": standard deviation of the scale
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
    # keep_res canvas: "strict" = next multiple of the divisor that is strictly larger (published:
    # 512 -> 544); "fit" = smallest multiple that holds the image (512 -> 512, faster).
    keys.CANVAS = "strict"
    # Detections in the output frame: clip to the image, drop those whose clipped box is empty. The
    # published files keep both off; detectron2's own detectors have both on.
    keys.CLIP_BOXES = False
    keys.DROP_EMPTY = False
    keys.EVAL_EPOCHS = 0  # evaluate every so many epochs; 0: EVAL_PERIOD iterations
    keys.IMS_PER_BATCH = 1  # images per process and step in evaluation; equal canvases run together
    keys.COCO_BACKEND = "pycocotools"  # or "faster-coco-eval" (optional package, equal numbers)
    keys.ROUND_RESULTS = (
        0  # decimals of boxes and scores before scoring; published results: 2; 0: not rounded
    )
    return keys


def _dataset_keys() -> CN:
    keys = CN()
    # Datasets given as files, "coco:<json>:<image dir>": filled by `centernet_d2.setup(cfg)`, which
    # gives each a short name in TRAIN / TEST, so that a saved config registers them again.
    keys.FROM_FILES = []
    return keys
