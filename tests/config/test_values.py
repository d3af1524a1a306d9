"""Every added key, set to what it cannot be, is fine or one error that names the key."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from importlib import import_module

import pytest
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from centernet_d2.config import KEYS, add_centernet_config, flattened
from centernet_d2.config.checks import (
    DETECTRON2_RULES,
    RESNET_AND_FPN,
    UNREAD,
    check_config,
)
from centernet_d2.engine.setup import load_config, setup

from .test_files import set_value

BAD = {
    "word": "unknown word",
    "negative": -1,
    "negative float": -0.5,
    "zero": 0,
    "huge": 10**9,
    "NaN": math.nan,
    "infinity": math.inf,
    "empty list": [],
    "empty text": "",
    "None": None,
    "True": True,
    "unknown words": ["unknown word"],
    "nested": [["x"]],
    "NaN in a list": [math.nan],
    "negative in a list": [-1, -1],
    "block": {"A": 1},
}
# What is large takes memory, not an error; a data set of any size is somebody's.
SIZES = ("CHANNELS", "STACKS", "NUM_CLASSES", "NUM_JOINTS", "STEM_KERNEL")

# Enough for a model of each kind whose keys are tried.
SMALL = [
    *("MODEL.DEVICE", "meta", "MODEL.META_ARCHITECTURE", "PointsCenterNet"),
    *("MODEL.BACKBONE.NAME", "build_centernet_encoder_decoder_backbone"),
    *("MODEL.HEATMAP.NUM_CLASSES", 2, "MODEL.HEATMAP.IN_FEATURES", ["decoder"]),
    *("MODEL.PIXEL_STD", [1.0, 1.0, 1.0]),
    *("MODEL.ENCODER_DECODER.CHANNELS", [4, 8], "MODEL.ENCODER_DECODER.BLOCKS", [1, 1]),
    *("MODEL.ENCODER_DECODER.OUT_CHANNELS", 8, "MODEL.POINTS_CENTERNET.HEAD_CHANNELS", 4),
    *("MODEL.CORNERNET.HEAD_CHANNELS", 8, "MODEL.CORNERNET.POOL_CHANNELS", 4),
]
TASKS = "MODEL.POINTS_CENTERNET.TASKS"
HOURGLASS = [
    *("MODEL.BACKBONE.NAME", "build_centernet_hourglass_backbone"),
    *("MODEL.HOURGLASS.CHANNELS", [8, 8], "MODEL.HOURGLASS.BLOCKS", [1, 1]),
    *("MODEL.HOURGLASS.STEM_CHANNELS", 8, "MODEL.HOURGLASS.STACKS", 1),
]
WITH = {  # beginning of a key -> what makes a model read it
    "MODEL.POINTS_CENTERNET.POSE": [
        *(TASKS, ["box2d", "pose"], "MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS", 2)
    ],
    "MODEL.POINTS_CENTERNET.BOX3D": [TASKS, ["box2d", "box3d"]],
    "MODEL.CORNERNET": ["MODEL.META_ARCHITECTURE", "CornerNet"],
    "MODEL.TRIPLET_CENTERNET": ["MODEL.META_ARCHITECTURE", "TripletCenterNet"],
    "MODEL.RESNET_DECONV": [
        *("MODEL.BACKBONE.NAME", "build_centernet_resnet_deconv_backbone"),
        *("MODEL.HEATMAP.IN_FEATURES", ["deconv"]),
    ],
    "MODEL.DLA": [
        *(
            "MODEL.BACKBONE.NAME",
            "build_centernet_dla_backbone",
            "MODEL.HEATMAP.IN_FEATURES",
            ["dla_up"],
        ),
    ],
    "MODEL.HOURGLASS.PYRAMID": [*HOURGLASS, "MODEL.HEATMAP.IN_FEATURES", ["stack1_p3"]],
    "MODEL.HOURGLASS": [*HOURGLASS, "MODEL.HEATMAP.IN_FEATURES", ["stack1"]],
}


@pytest.mark.parametrize("key", KEYS)
def test_a_bad_value_is_fine_or_named(key):
    extra = next((more for start, more in WITH.items() if key.startswith(start)), [])
    base = load_config("", [*SMALL, *extra])
    is_built = key.startswith(("MODEL", "TEST")) and not key.startswith("MODEL.TIMM")
    unclear = []
    for name, value in BAD.items():
        cfg = base.clone()
        set_value(cfg, key, value)
        try:
            setup(cfg)
            if is_built and not (name == "huge" and key.endswith(SIZES)):
                build_model(cfg)
        except Exception as error:
            told = isinstance(error, (ValueError, TypeError)) and key in str(error)
            if not told or repr(value).strip("[]") not in str(error):
                unclear.append((name, error))
    assert unclear == []


def test_it_must_be_wrong_to_be_refused():
    for key in KEYS.values():
        assert key.rule.accepts(key.default), key.name
        assert key.doc.endswith((".", ")")), key.name
        assert key.rule.says, key.name


# Keys of detectron2 that are read and left to its own errors.
ALSO_READ = (
    *("VERSION", "GLOBAL.*", "CUDNN_BENCHMARK", "FLOAT32_PRECISION", "INPUT.MAX_SIZE_TEST"),
    *("SOLVER.LR_SCHEDULER_NAME", "SOLVER.CLIP_GRADIENTS.NORM_TYPE"),
    *("SOLVER.BASE_LR_END", "SOLVER.NUM_DECAYS", "SOLVER.RESCALE_INTERVAL"),
    *("TEST.EXPECTED_RESULTS", "TEST.PRECISE_BN.NUM_ITER"),
)


def test_every_key_of_detectron2_is_read_or_refused():
    known = (*DETECTRON2_RULES, *ALSO_READ, *UNREAD, *RESNET_AND_FPN)
    keys = list(flattened(get_cfg()))
    assert [k for k in keys if not any(fnmatchcase(k, each) for each in known)] == []
    unused = [each for each in known if not any(fnmatchcase(k, each) for k in keys)]
    of_main = {"BASE_LR_END", "NUM_DECAYS", "RESCALE_INTERVAL"}
    assert set(unused) <= {"FLOAT32_PRECISION", *(f"SOLVER.{name}" for name in of_main)}


@pytest.mark.parametrize("key", DETECTRON2_RULES)
def test_a_key_of_detectron2_that_is_read_is_checked(key):
    cfg = load_config("", SMALL)
    check_config(cfg)
    set_value(cfg, key, {"A": 1})
    with pytest.raises(ValueError, match=rf"^{key} is .*'A': 1.*; it must be "):
        check_config(cfg)


def test_adding_twice_keeps_values_and_shares_no_list():
    cfg, other = get_cfg(), get_cfg()
    add_centernet_config(cfg)
    add_centernet_config(other)
    cfg.TEST.SCALES.append(2.0)
    cfg.TEST.FLIP = True
    add_centernet_config(cfg)
    assert cfg.TEST.FLIP
    assert (cfg.TEST.SCALES, other.TEST.SCALES) == ([1.0, 2.0], [1.0])


CHOICES = {  # key -> where the code has the words that it knows
    "SOLVER.OPTIMIZER": "engine.optimizer.OPTIMIZERS",
    "SOLVER.AMP_DTYPE": "engine.step_loop.AMP_DTYPES",
    "MODEL.HEATMAP.RADIUS_RULE": "targets.gaussian.RadiusRule",
    "MODEL.POINTS_CENTERNET.IGNORED_REGION": "targets.ignored.IGNORED_REGIONS",
    "MODEL.POINTS_CENTERNET.POSE.SNAPPING": "decoding.joints.SNAPPING",
    "MODEL.POINTS_CENTERNET.BOX3D.CALIBRATION": "modeling.point_tasks.box3d.CALIBRATIONS",
    "MODEL.CORNERNET.POOLING": "modeling.heads.corner_head.POOLINGS",
    "MODEL.CORNERNET.NORM_INIT": "layers.blocks.NORM_INITS",
    "MODEL.CORNERNET.EMBEDDING_REDUCTION": "losses.associative_embedding.REDUCTIONS",
    "MODEL.CORNERNET.STACK_REDUCTION": "losses.associative_embedding.REDUCTIONS",
    "MODEL.CORNERNET.FLIP_CONVENTION": "modeling.corner_views.FLIP_CONVENTIONS",
    "MODEL.TRIPLET_CENTERNET.CENTER_CHOICE": "decoding.center_check.CHOICES",
    "MODEL.RESNET_DECONV.DEPTH": "modeling.backbone.resnet_deconv.DEPTHS",
    "MODEL.RESNET_DECONV.UPSAMPLE": "modeling.backbone.resnet_deconv.WIDTHS",
    "MODEL.DLA.UPSAMPLE": "modeling.backbone.dla.UPSAMPLES",
    "MODEL.HOURGLASS.NORM_INIT": "layers.blocks.NORM_INITS",
    "INPUT.FLIP_CONVENTION": "data.transforms.FLIP_CONVENTIONS",
    "INPUT.CENTER_CROP.MODE": "data.transforms.CROP_MODES",
    "INPUT.CENTER_CROP.BASE": "data.transforms.CROP_BASES",
    "INPUT.BOX3D.RESOLUTION": "data.fields.boxes3d_transforms.RESOLUTIONS",
    "TEST.PROTOCOL": "config.protocols.PROTOCOLS",
    "TEST.DTYPE": "modeling.fast_inference.DTYPES",
    "TEST.FIXED_FIT": "modeling.inference_protocol.FIXED_FITS",
    "TEST.SOFT_NMS.METHOD": "decoding.soft_nms.METHODS",
    "TEST.SOFT_NMS.EXTENT": "decoding.soft_nms.EXTENTS",
    "TEST.SOFT_NMS.MODE": "decoding.soft_nms_rounds.SELECTIONS",
    "TEST.VOC.FILE_OFFSET": "evaluation.voc.FILE_OFFSETS",
    "TEST.COCO_BACKEND": "evaluation.coco_scores.BACKENDS",
}


@pytest.mark.parametrize("key", CHOICES)
def test_words_are_those_of_the_code(key):
    module, _, name = CHOICES[key].rpartition(".")
    words = [getattr(w, "value", w) for w in getattr(import_module(f"centernet_d2.{module}"), name)]
    assert KEYS[key].rule.accepts(KEYS[key].default)
    assert all(map(KEYS[key].rule.accepts, words))
    words += ["auto"] * (key == "TEST.DTYPE")  # which measures
    assert len(KEYS[key].rule.says.split(",")) == len(words)
