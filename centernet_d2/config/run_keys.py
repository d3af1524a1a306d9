"""Keys of DATASETS, INPUT, SOLVER and TEST; written as those of `model_keys`."""

from ..checked_values import flag, listed, number, one_of, share, text, weight, whole, word
from .rules import block, size

DATASETS = block(
    "DATASETS",
    FROM_FILES=([], listed(word)),
    CLASSES=([], listed(word, distinct=True)),
    CHECK_IMAGES=("ends", one_of("none", "exist", "ends", "header", "bytes", "decode")),
    CHECK_RECORDS=("warn", one_of("none", "warn", "stop")),
    SKIP_UNREADABLE=(False, flag),
)
VOC_FILES = block(
    "DATASETS.VOC",
    MISSING_XML=("error", one_of("error", "negative")),
)
KITTI_FILES = block(
    "DATASETS.KITTI",
    ALLOW_MISSING=(False, flag),
)
INPUT = block(
    "INPUT",
    TRAIN_SIZE=([512, 512], size),
    FLIP_PROBABILITY=(0.5, share),
    FLIP_CONVENTION=("pixel", one_of("pixel", "edge")),
    COLOR_JITTER=(0.4, number(0, below=1)),
    PCA_LIGHTING=(0.1, weight),
    SCALE_MISMATCH=("error", one_of("error", "warning")),
    CROWD_AS_OBJECTS=(True, flag),
    EXIF_ORIENTATION=("apply", one_of("apply", "ignore")),
    MAX_PIXELS=(0, whole()),
    DIFFICULT_AS_OBJECTS=(True, flag),
)
CENTER_CROP = block(
    "INPUT.CENTER_CROP",
    MODE=("random_crop", one_of("random_crop", "shift_scale", "none")),
    SCALES=([0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3], listed(number(above=0), least=1)),
    BASE=("image", one_of("image", "output")),
    BORDER=(128, whole()),
    SHIFT=(0.1, weight),
    SCALE=(0.4, number(0, below=1)),
    ROTATION=(0.0, number(0, 90)),
    ROTATION_PROBABILITY=(1.0, share),
)
INPUT_BOX3D = block(
    "INPUT.BOX3D",
    RESOLUTION=("fixed", one_of("fixed", "keep_res")),
    JITTER_PROBABILITY=(0.5, share),
)
SOLVER = block(
    "SOLVER",
    OPTIMIZER=("Adam", one_of("Adam", "AdamW", "SGD")),
    BASE_BATCH_SIZE=(0, whole()),
    IMS_AT_ONCE=(0, whole()),
    EPOCHS=(0, whole()),
    EPOCH_STEPS=([], listed(whole(1), distinct=True)),
    CHECKPOINT_EPOCHS=(0, whole()),
    AMP_DTYPE=("float16", one_of("float16", "bfloat16")),
    EMA_DECAY=(0.0, number(0, below=1)),
    BEST_METRIC=("", text),
    EARLY_STOPPING=(0, whole()),
)
TEST = block(
    "TEST",
    PROTOCOL=("", one_of("", "published", "clean")),
    RESOLUTION=("keep_res", one_of("keep_res", "fixed")),
    FIXED_SIZE=([512, 512], size),
    FIXED_FIT=("whole", one_of("whole", "width", "none")),
    CANVAS=("strict", one_of("strict", "fit", "odd")),
    FLIP=(False, flag),
    SCALES=([1.0], listed(number(above=0), least=1)),
    MAX_PIXELS=(0, whole()),
    FOLD_NORM=(False, flag),
    DTYPE=("float32", one_of("float32", "bfloat16", "float16")),
    CLIP_BOXES=(False, flag),
    DROP_EMPTY=(False, flag),
    EVAL_EPOCHS=(0, whole()),
    IMS_PER_BATCH=(1, whole(1)),
    COCO_BACKEND=("pycocotools", one_of("pycocotools", "faster-coco-eval")),
    COCO_MAX_DETECTIONS=(0, whole()),
    ROUND_RESULTS=(0, whole()),
    PER_IOU_AP=(False, flag),
    FALSE_DISCOVERY=(False, flag),
)
SOFT_NMS = block(
    "TEST.SOFT_NMS",
    METHOD=("gaussian", one_of("gaussian", "linear", "hard")),
    SIGMA=(0.5, number(above=0)),
    THRESHOLD=(0.5, share),
    SCORE_FLOOR=(0.001, share),
    MODE=("clean", one_of("clean", "reference")),
    EXTENT=("inclusive", one_of("inclusive", "continuous")),
)
VOC = block(
    "TEST.VOC",
    FILE_OFFSET=("all", one_of("all", "left_top")),
    ROUND=(True, flag),
)
KITTI = block(
    "TEST.KITTI",
    ROUND_RESULTS=(2, whole()),
)
LOGGING = block(
    "LOGGING",
    WRITERS=([], listed(word, distinct=True)),
    REPORT=(True, flag),
)
AUTO = block(
    "AUTO",
    SIZE=(False, flag),
    SCHEDULE=(False, flag),
    LENGTH=(1.0, number(above=0)),
    BATCH=(False, flag),
    PRESET=("", one_of("", "cpu", "gpu8", "gpu24")),
    PIXELS=(0, whole()),
    CHOSEN=([], listed(word)),
)
RUN_BLOCKS = (
    *(DATASETS, VOC_FILES, KITTI_FILES, INPUT, CENTER_CROP, INPUT_BOX3D),
    *(SOLVER, TEST, SOFT_NMS, VOC, KITTI, LOGGING, AUTO),
)
