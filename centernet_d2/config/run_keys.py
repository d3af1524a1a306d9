"""Keys of DATASETS, INPUT, SOLVER and TEST; written as those of `model_keys`."""

from ..checked_values import flag, listed, number, one_of, share, text, weight, whole, word
from .rules import block, size

# fmt: off
DATASETS = block(
    "DATASETS", "Data in files of one's own.",
    FROM_FILES=([], listed(word),
        'Datasets given as files, "coco:<json>:<image dir>" or in another form: filled by '
        "`centernet_d2.setup(cfg)`, which gives each a short name in TRAIN / TEST, so that a saved "
        "config registers them again."),
    CLASSES=([], listed(word, distinct=True),
        "Classes to learn and to score, in their order, of TRAIN and TEST alike: a name of the "
        'data, or "cell=WBC+Platelets", a new name and those that it stands for. Other objects are '
        'left out and counted; []: all classes as they are. One text, "RBC,cell=WBC+Platelets", '
        "is taken too."),
    CHECK_IMAGES=("ends", one_of("none", "exist", "ends", "header", "bytes", "decode"),
        "How closely image files are looked at before a training or an evaluation (seconds per "
        "10,000 files of 160 kB on a local disk), each with those before: `exist` (0.02), `ends`: "
        "first and last bytes are those of a whole file, and 100 files, evenly spaced, have the "
        "annotations' sizes (0.2), `header`, all have them (1), `bytes`, all are in the order "
        "of JPEG and PNG (2; `ends` does it where all files have at most 4 GB), `decode`, all "
        "pixels can be read (20). Addresses (s3://...) are left out."),
    CHECK_RECORDS=("warn", one_of("none", "warn", "stop"),
        "Annotations that a training can use, but hardly as meant (objects twice, in one cell of "
        "the output, under two cells; class names nearly alike; 1 second per 10,000 images): "
        "`warn` says how many, `stop` is an error, `none` does not look. `centernet-d2 check-data` "
        "tells more."),
    SKIP_UNREADABLE=(False, flag,
        "Training images in which CHECK_IMAGES finds a fault: True leaves them out and counts them "
        "in a warning, False is an error, as it always is of evaluation images."),
)
VOC_FILES = block(
    "DATASETS.VOC", "How folders of VOC's form are read; how they are scored is in TEST.VOC.",
    MISSING_XML=("error", one_of("error", "negative"),
        "What an image of a split without XML file is, where others have one: `error`, or "
        "`negative`, an image without objects (a warning counts them)."),
)
KITTI_FILES = block(
    "DATASETS.KITTI", "How KITTI's files are read; how they are scored is in TEST.KITTI.",
    ALLOW_MISSING=(False, flag,
        "Split lists may name frames whose files are not there: True goes on without them (a "
        "warning counts them), False is an error."),
)
INPUT = block(
    "INPUT", "Training images; what the network sees in inference is in TEST.",
    TRAIN_SIZE=([512, 512], size, "(height, width) of the training crop, network frame."),
    FLIP_PROBABILITY=(0.5, share, "Share of samples that are flipped left to right."),
    FLIP_CONVENTION=("pixel", one_of("pixel", "edge"),
        "`pixel`: x' = W - 1 - x (published); `edge`: x' = W - x (detectron2)."),
    COLOR_JITTER=(0.4, number(0, below=1),
        "Brightness, contrast, saturation: factor 1 + U(-j, j) in random order; 0: off."),
    PCA_LIGHTING=(0.1, weight,
        "Standard deviation of the color shift along the COCO principal axes; 0: off."),
    SCALE_MISMATCH=("error", one_of("error", "warning"),
        "What it is that objects (their median) are more than 1.5 times as large or small for the "
        "network in testing, at each of TEST.SCALES, as in training."),
    CROWD_AS_OBJECTS=(True, flag,
        "Crowd regions: True makes them positives as the published code does, False leaves them "
        "out."),
    EXIF_ORIENTATION=("apply", one_of("apply", "ignore"),
        "A photo's EXIF orientation, everywhere: `apply`, pixels are turned upright; `ignore`, "
        "they are taken as stored, for annotations drawn so. KITTI and VOC always are."),
    MAX_PIXELS=(0, whole(),
        "Image files with more pixels are refused, with an error that names them; 0: Pillow's "
        "limit, 178,956,970. Of the canvas in inference it is TEST.MAX_PIXELS."),
    DIFFICULT_AS_OBJECTS=(True, flag,
        "VOC's difficult objects: True makes them positives as the published code does."),
)
CENTER_CROP = block(
    "INPUT.CENTER_CROP",
    "The crop around a drawn center, in one affine map with scale and turn. Of 3-D boxes, which "
    "are not cropped, SHIFT and SCALE are those of INPUT.BOX3D.JITTER_PROBABILITY.",
    MODE=("random_crop", one_of("random_crop", "shift_scale", "none"),
        "`random_crop`: side times one of SCALES, center drawn with a border (published default); "
        "`shift_scale`: Gaussian shift and scale (published --not_rand_crop); `none`: the image "
        "centred and scaled to fit."),
    SCALES=([0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3], listed(number(above=0), least=1),
        "Of BASE's side; larger: smaller objects."),
    BASE=("image", one_of("image", "output"),
        "What SCALES multiply: `image`, the image's side (published points training), or `output`, "
        "TRAIN_SIZE in pixels of the image, whatever its size (published corner training)."),
    BORDER=(128, whole(),
        "Pixels that the crop's center keeps from the border, halved for small images."),
    SHIFT=(0.1, weight, "`shift_scale`: standard deviation of the shift, in sides."),
    SCALE=(0.4, number(0, below=1), "`shift_scale`: standard deviation of the scale."),
    ROTATION=(0.0, number(0, 90),
        "Turn around the crop's center: standard deviation in degrees, clipped at twice that; 0: "
        "off (published default). Boxes become the upright box around the turned one, and "
        "everything is learned from turned images: the published code leaves boxes as they were, "
        "and so learns only the joint heatmap and the joint offset there."),
    ROTATION_PROBABILITY=(1.0, share, "Share of samples that ROTATION turns."),
)
INPUT_BOX3D = block(
    "INPUT.BOX3D",
    'Training images of the point task "box3d", whose ground truth has a camera: neither crops nor '
    "flipped images.",
    RESOLUTION=("fixed", one_of("fixed", "keep_res"),
        "`fixed`: the image's width becomes TRAIN_SIZE's (published); `keep_res`: pixels stay "
        "pixels."),
    JITTER_PROBABILITY=(0.5, share,
        "Share of the images that are shifted and scaled by CENTER_CROP.SHIFT and SCALE (of the "
        "image's width and height); those teach neither depth nor dimensions (published)."),
)
SOLVER = block(
    "SOLVER",
    "Length and optimizer. Epochs take precedence over iterations unless those are set by hand "
    "over a config in epochs.",
    OPTIMIZER=("Adam", one_of("Adam", "AdamW", "SGD"), "Optimizer."),
    BASE_BATCH_SIZE=(0, whole(),
        "BASE_LR belongs to this batch size; the learning rate used is BASE_LR * IMS_PER_BATCH / "
        "BASE_BATCH_SIZE. 0: BASE_LR is used as it is."),
    IMS_AT_ONCE=(0, whole(),
        "Images of a process that go through the network together, where a step's IMS_PER_BATCH do "
        "not fit into memory: gradients are added up part after part. 0: all together."),
    EPOCHS=(0, whole(), "0: MAX_ITER and STEPS are used as they are."),
    EPOCH_STEPS=([], listed(whole(1), distinct=True),
        "The learning rate is multiplied by GAMMA after each of these epochs; []: after the "
        "iterations of STEPS."),
    CHECKPOINT_EPOCHS=(0, whole(), "0: CHECKPOINT_PERIOD iterations."),
    COMPILE=(False, flag,
        "torch.compile makes code of network and losses for the training, at its first steps "
        "(minutes). Needs a C++ compiler on a CPU, a C compiler on a GPU."),
    AMP_DTYPE=("float16", one_of("float16", "bfloat16"), "Of SOLVER.AMP."),
    EMA_DECAY=(0.0, number(0, below=1),
        "Decay of an exponential moving average of the weights, used for evaluation; 0: off."),
    BEST_METRIC=("", text,
        'E.g. "bbox/AP": keeps model_best.pth by this evaluation result; empty: off. Of "validation'
        '/total_loss" (TEST.VALIDATION_LOSS) the lowest is the best.'),
    EARLY_STOPPING=(0, whole(),
        "End the training after so many evaluations without a better BEST_METRIC; 0: off."),
)
TEST = block(
    "TEST",
    "Inference, inside the model: every way of predicting agrees. TEST.AUG is detectron2's own, "
    "for its R-CNN models; nothing here reads it.",
    PROTOCOL=("", one_of("", "published", "clean"),
        "All keys that decide how detections are decoded and scored, at once: `centernet_d2.setup"
        "(cfg)` sets those of the table in MODEL_ZOO.md and says which changed. "
        "`published`: what the authors' code does, such as soft-NMS with stale copies and results "
        "with 2 decimals; `clean`: none of its oddities. Empty: the keys as they are. A key beside "
        "the word that contradicts it is an error."),
    RESOLUTION=("keep_res", one_of("keep_res", "fixed"),
        "`keep_res`: original pixels, centred on a black canvas; `fixed`: scaled to fit "
        "FIXED_SIZE, centred."),
    FIXED_SIZE=([512, 512], size, "(height, width), network frame."),
    FIXED_FIT=("whole", one_of("whole", "width", "none"),
        "How `fixed` scales: `whole`, the whole image fits; `width`, its width does, and what is "
        "too high is cut evenly above and below (published for KITTI); `none`, pixels stay "
        "pixels."),
    CANVAS=("strict", one_of("strict", "fit", "odd"),
        "Of keep_res. `strict`: next multiple of the divisor that is strictly larger (published: "
        "512 -> 544); `fit`: smallest multiple that holds the image (512 -> 512, faster); `odd`: "
        "one pixel less than a multiple (published for corners: 480 -> 511, 512 -> 639), also in "
        "training."),
    FLIP=(False, flag,
        "See each image and its flipped image: their maps are averaged, their pairs of corners "
        "united."),
    SCALES=([1.0], listed(number(above=0), least=1),
        "Sizes at which each image is seen; published multi-scale, with FLIP: [0.5, 0.75, 1.0, "
        "1.25, 1.5], of the triplet [0.6, 1.0, 1.2, 1.5, 1.8]."),
    MAX_PIXELS=(0, whole(),
        "Images whose canvas (at any of SCALES) has more pixels are refused with an error that "
        "names them; 0: no limit."),
    FOLD_NORM=(False, flag,
        "Fold batch norms into the convolutions before them; equal up to rounding. Of `Predictor` "
        "and --eval-only, which know when the weights are complete; DTYPE too."),
    DTYPE=("float32", one_of("float32", "bfloat16", "float16", "auto"),
        "Of backbone and head; the layers that are decoded stay in float32. Half precision moves "
        "scores and boxes a little, and is slower than float32 on some processors: `auto` measures "
        "once, on the first images, and leaves float32 for a dtype that is 1.1 times as fast and "
        "within DTYPE_DIFFERENCE. A training evaluates in float32, whatever stands here."),
    DTYPE_DIFFERENCE=([0.02, 0.1], listed(share, count=2),
        "Of DTYPE auto: how far a score may be from that in float32, and which share (1 less IoU) "
        "a box may lose; 95 % of the detections above 0.3 must keep to both."),
    CLIP_BOXES=(False, flag,
        "Clip boxes to the image, in the output frame. Published: off; detectron2's own detectors "
        "have it on."),
    DROP_EMPTY=(False, flag, "Drop detections whose clipped box is empty; published: off."),
    EVAL_EPOCHS=(0, whole(), "Evaluate every so many epochs; 0: EVAL_PERIOD iterations."),
    VALIDATION_LOSS=(False, flag,
        "With each evaluation of a training also the losses on its images, as they are seen there "
        "at scale 1, not flipped, one by one: results such as `validation/total_loss`."),
    IMS_PER_BATCH=(1, whole(1),
        "Images per process and step in evaluation; equal canvases run together."),
    COCO_BACKEND=("pycocotools", one_of("pycocotools", "faster-coco-eval"),
        "`faster-coco-eval` is an optional package, with equal numbers."),
    COCO_MAX_DETECTIONS=(0, whole(),
        "COCO: detections of an image and class that count; 0: COCO's own 100, of joints 20. "
        "Images with more objects need more, of DETECTIONS_PER_IMAGE and HEATMAP.TOP_K too; "
        "another number than COCO's is printed beside the scores."),
    ROUND_RESULTS=(0, whole(),
        "Decimals of boxes and scores before scoring; published results: 2; 0: not rounded."),
    PER_IOU_AP=(False, flag,
        "COCO: also report AP60, AP70, AP80 and AP90 (CornerNet's journal version, Table 5)."),
    FALSE_DISCOVERY=(False, flag,
        "COCO: also report FD, FD5, FD25, FD50, FD_S, FD_M, FD_L, the triplet paper's false "
        "discovery: 100 minus AP at IoU .05:.05:.50. Takes as long as the other scores together."),
)
SOFT_NMS = block(
    "TEST.SOFT_NMS",
    "Unites detections class by class: of several SCALES, and of the corner detectors always. The "
    "TEST.DETECTIONS_PER_IMAGE best of every detector stay in the end, ties with the last included "
    "(published: 100; 0: no limit).",
    METHOD=("gaussian", one_of("gaussian", "linear", "hard"), "Published: `gaussian`."),
    SIGMA=(0.5, number(above=0), "Of `gaussian`: a score is multiplied by exp(-iou^2 / sigma)."),
    THRESHOLD=(0.5, share, "IoU above which `linear` and `hard` lower a score."),
    SCORE_FLOOR=(0.001, share, "Boxes that overlap lowers below this are dropped."),
    MODE=("clean", one_of("clean", "reference"),
        "`reference`: with the stale copies of boxes that the published code leaves behind dropped "
        "ones (published results)."),
    EXTENT=("inclusive", one_of("inclusive", "continuous"),
        "Width of a box: `inclusive` x2 - x1 + 1 (published) or `continuous` x2 - x1."),
)
VOC = block(
    "TEST.VOC", "Scores of Pascal VOC.",
    FILE_OFFSET=("all", one_of("all", "left_top"),
        "How a box (edges, XYXY) becomes file coordinates (pixels counted from 1). `all`: 1 is "
        "added to all four, as published (right and bottom end up one pixel too far); `left_top`: "
        "to left and top only, the inverse of how the annotations are read."),
    ROUND=(True, flag,
        "Score what the result files hold (score with 3 decimals, coordinates with 1), as "
        "published."),
)
KITTI = block(
    "TEST.KITTI", "Scores of KITTI.",
    ROUND_RESULTS=(2, whole(),
        "Decimals of the result files, which are what is scored; the published ones have 2, of the "
        "score too. 0: the scores are those of the unrounded numbers, the files have 6."),
)
LOGGING = block(
    "LOGGING", "Where a training's numbers go besides metrics.json, results.csv and TensorBoard.",
    WRITERS=([], listed(word, distinct=True),
        "Trackers: `wandb` (Weights & Biases), `mlflow`, `clearml`, each an extra of this package "
        "of that name, or names of `engine.writers.WRITER_REGISTRY`. They get scalars, scores, the "
        "config and the pictures of VIS_PERIOD; a run is named after OUTPUT_DIR, and addresses and "
        "accounts are set as each package reads them from the environment."),
    PERIOD=(20, whole(1),
        "Steps from one line of the log, and of metrics.json, to the next."),
    REPORT=(True, flag,
        "Leave report.html at the end of a training: curves, confusion, worst pictures and score "
        "threshold of the last evaluation."),
)
AUTO = block(
    "AUTO",
    "What `centernet_d2.setup(cfg)` chooses by training data and machine. It writes the keys, says "
    "why and turns the word off: a saved config depends on neither. Keys set by hand stay.",
    SIZE=(False, flag,
        "INPUT.TRAIN_SIZE, CENTER_CROP.BORDER and TEST.FIXED_SIZE, RESOLUTION: one frame of the "
        "images' form in which small objects have two output cells, as far as PIXELS allows."),
    SCHEDULE=(False, flag,
        "SOLVER.MAX_ITER, WARMUP_ITERS, EMA_DECAY, periods of a tenth of the run, of 20 steps at "
        "least, BEST_METRIC and EARLY_STOPPING."),
    LENGTH=(1.0, number(above=0), "Factor of the length that SCHEDULE gives a run."),
    BATCH=(False, flag, "SOLVER.IMS_AT_ONCE, by memory."),
    PRESET=("", one_of("", "cpu", "gpu8", "gpu24"),
        "Machine: batch, AMP, frame, network and length of the run; empty: the one at hand."),
    PIXELS=(0, whole(), "The most that SIZE gives the frame; 0: PRESET's."),
    CHOSEN=([], listed(word), "The keys that were decided, by hand too; filled, not set."),
)
# fmt: on
RUN_BLOCKS = (
    *(DATASETS, VOC_FILES, KITTI_FILES, INPUT, CENTER_CROP, INPUT_BOX3D),
    *(SOLVER, TEST, SOFT_NMS, VOC, KITTI, LOGGING, AUTO),
)
