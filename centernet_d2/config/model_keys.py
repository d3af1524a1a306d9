"""Keys of MODEL: NAME=(default, rule); docs/config.md has the meaning, unit and source of each.

The defaults are the recipe that the points paper's published weights were trained with; a value
that is an inherited oddity is *named*, so that another choice is one word away.
"""

from ..checked_values import Rule, flag, listed, number, one_of, share, weight, whole, word
from .rules import block, channels, norm, size, widths

GENERAL = block(
    "MODEL",
    CHECKPOINT_MISMATCH=("report", one_of("fail", "report")),
)
HEATMAP = block(
    "MODEL.HEATMAP",
    NUM_CLASSES=(80, whole()),
    IN_FEATURES=(["deconv"], listed(word, least=1, distinct=True)),
    RADIUS_RULE=("legacy", one_of("legacy", "exact", "fixed", "none")),
    MIN_OVERLAP=(0.7, number(above=0, high=1)),
    FIXED_RADIUS=(2, whole()),
    RADIUS_ROUND_UP=(True, flag),
    PRIOR_BIAS=(-2.19, number()),
    FOCAL_ALPHA=(2.0, weight),
    FOCAL_BETA=(4.0, weight),
    PEAK_KERNEL=(3, whole(1, odd=True)),
    TOP_K=(100, whole(1)),
    SCORE_THRESHOLD=(0.0, share),
    CHANNELS_LAST=(True, flag),
)
POINTS = block(
    "MODEL.POINTS_CENTERNET",
    TASKS=(["box2d"], listed(word, least=1, distinct=True)),
    HEAD_CHANNELS=(64, whole()),
    REGRESSION_INIT=("normal", one_of("normal", "last_normal", "zero_bias", "torch")),
    OFFSET=(True, flag),
    HEATMAP_WEIGHT=(1.0, weight),
    OFFSET_WEIGHT=(1.0, weight),
    REGRESSION_LOSS=("l1", one_of("l1", "smooth_l1")),
    REGRESSION_NORMALIZER=("elements", one_of("elements", "objects", "max_objects")),
    BORDER=("last_cell", one_of("last_cell", "map")),
    IGNORED_REGION=("center", one_of("center", "box")),
)
BOX2D = block(
    "MODEL.POINTS_CENTERNET.BOX2D",
    SIZE_WEIGHT=(0.1, weight),
    SIZE_FORM=("cells", one_of("cells", "log")),
    GIOU_WEIGHT=(0.0, weight),
    CLASS_SPECIFIC_SIZE=(False, flag),
    SIZE_AS_POINT=(False, flag),
    NMS=("none", one_of("none", "hard", "linear", "gaussian")),
    NMS_THRESHOLD=(0.5, share),
)
POSE = block(
    "MODEL.POINTS_CENTERNET.POSE",
    NUM_JOINTS=(0, whole()),
    FLIP_INDICES=([], listed(whole(), distinct=True)),
    CLASSES=([], listed(whole(), distinct=True)),
    JOINT_HEATMAP=(True, flag),
    JOINT_OFFSET=(True, flag),
    DISPLACEMENT_WEIGHT=(1.0, weight),
    HEATMAP_WEIGHT=(1.0, weight),
    OFFSET_WEIGHT=(1.0, weight),
    REGRESS_UNLABELLED=(False, flag),
    SNAPPING=("published", one_of("published", "paper", "none")),
    CANDIDATES=(100, whole(1)),
    CANDIDATE_SCORE=(0.1, share),
    SNAP_DISTANCE=(0.3, weight),
)
PROJECTION = listed(number(), count=4)
BOX3D = block(
    "MODEL.POINTS_CENTERNET.BOX3D",
    DEPTH_WEIGHT=(1.0, weight),
    DIMENSIONS_WEIGHT=(1.0, weight),
    ORIENTATION_WEIGHT=(1.0, weight),
    NORMALIZER=("max_objects", one_of("max_objects", "objects")),
    ORIENTATION_LOSS=("smooth_l1", one_of("smooth_l1", "l1")),
    CALIBRATION=("each", one_of("each", "first")),
    DEFAULT_PROJECTION=(
        [
            [707.0493, 0.0, 604.0814, 45.75831],
            [0.0, 707.0493, 180.5066, -0.3454157],
            [0.0, 0.0, 1.0, 0.004981016],
        ],
        Rule("3 x 4 numbers", listed(PROJECTION, count=3).accepts),
    ),
    DEFAULT_SIZE=([375, 1242], size),
)
CORNERNET = block(
    "MODEL.CORNERNET",
    POOLING=("corner", one_of("corner", "cascade")),
    POOLS=(True, flag),
    POOL_CHANNELS=(128, channels),
    HEAD_CHANNELS=(256, channels),
    NORM=("BN", norm),
    NORM_INIT=("uniform", one_of("ones", "uniform")),
    HEATMAP_WEIGHT=(1.0, weight),
    OFFSET_WEIGHT=(1.0, weight),
    PULL_WEIGHT=(0.1, weight),
    PUSH_WEIGHT=(0.1, weight),
    EMBEDDING_REDUCTION=("sum", one_of("sum", "mean")),
    STACK_REDUCTION=("mean", one_of("mean", "sum")),
    EMBEDDING_THRESHOLD=(0.5, weight),
    MAX_PAIRS=(1000, whole(1)),
    OUTSIDE_MARGIN=(-1.0, number()),
    FLIP_CONVENTION=("edge", one_of("edge", "pixel")),
    MERGE_BOXES=("several_scales", one_of("several_scales", "always", "never")),
    MERGE_EXPONENT=(10.0, weight),
)
TRIPLET = block(
    "MODEL.TRIPLET_CENTERNET",
    POOLING=("center", one_of("center", "none")),
    CENTER_SIGMA_DIVISOR=(5.0, number(above=0)),
    CENTER_WEIGHT=(1.0, weight),
    REGION_SIDE=(150.0, weight),
    REGION_PARTS=([3, 5], listed(whole(1, odd=True), count=2)),
    CENTER_CHOICE=("first", one_of("first", "best")),
    CENTER_SCALES=("original", one_of("original", "all")),
)
RESNET_DECONV = block(
    "MODEL.RESNET_DECONV",
    DEPTH=(18, one_of(18, 34, 50, 101, 152)),
    UPSAMPLE=("deform", one_of("deform", "plain", "conv")),
    NORM=("BN", norm),
    UPSAMPLE_INIT=("", one_of("first_channel_bilinear", "bilinear", "normal", "")),
)
DLA = block(
    "MODEL.DLA",
    UPSAMPLE=("deform", one_of("deform", "plain")),
    NORM=("BN", norm),
    CHANNELS=([16, 32, 64, 128, 256, 512], listed(channels, count=6)),
    DEPTHS=([1, 1, 1, 2, 2, 1], listed(whole(1), count=6)),
)
HOURGLASS = block(
    "MODEL.HOURGLASS",
    STACKS=(2, whole(1)),
    CHANNELS=([256, 256, 384, 384, 384, 512], listed(channels, least=2)),
    BLOCKS=([2, 2, 2, 2, 2, 4], listed(whole(1), least=2)),
    STEM_CHANNELS=(128, channels),
    STEM_KERNEL=(7, whole(1, odd=True)),
    OUT_CHANNELS=(256, channels),
    NORM=("BN", norm),
    NORM_INIT=("ones", one_of("ones", "uniform")),
)
TIMM = block(
    "MODEL.TIMM",
    NAME=("resnet18", word),
    OUT_CHANNELS=(64, channels),
    NORM=("BN", norm),
)
ENCODER_DECODER = block(
    "MODEL.ENCODER_DECODER",
    CHANNELS=([32, 64, 96, 128], widths),
    BLOCKS=([1, 1, 1, 1], listed(whole(1), least=1)),
    OUT_CHANNELS=(64, channels),
    NORM=("BN", norm),
)
MODEL_BLOCKS = (
    *(GENERAL, HEATMAP, POINTS, BOX2D, POSE, BOX3D, CORNERNET, TRIPLET),
    *(RESNET_DECONV, DLA, HOURGLASS, TIMM, ENCODER_DECODER),
)
