"""Files and overrides: misspelt ones, keys that nothing reads, keys of one's own."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
import yaml
from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, build_model

import centernet_d2
from centernet_d2.config import value_of
from centernet_d2.config.files import nearest_keys
from centernet_d2.engine import setup as engine_setup
from centernet_d2.engine.setup import load_config, setup
from centernet_d2.modeling import PointsCenterNet

POINTS = "COCO-Detection/points_resnet18_dcn_140e.yaml"
NOTHING = ["DATASETS.TRAIN", "()", "DATASETS.TEST", "()"]
FPN = "COCO-Detection/points_resnet50_fpn_140e.yaml"


def set_value(content: dict, key: str, value: object) -> None:
    *groups, name = key.split(".")
    for group in groups:
        content = content.setdefault(group, {})
    content[name] = value


def write(path: Path, keys: dict) -> str:
    content: dict = {}
    for key, value in keys.items():
        set_value(content, key, value)
    path.write_text(yaml.safe_dump(content))
    return str(path)


def error_of(*arguments, **named) -> str:
    with pytest.raises((KeyError, ValueError)) as caught:
        load_config(*arguments, **named)
    return str(caught.value.args[0])


def assert_told(plain, key: str, value, expected: str) -> str:
    """The same of a file, which is named, and of the command line."""
    path = plain({key: value})
    assert error_of(path) == f"{path}: {expected}"
    assert error_of("", [key, value]) == expected
    return path


@pytest.fixture
def points(config_root):
    return str(config_root / POINTS)


@pytest.fixture
def plain(tmp_path):
    """A file of one's own, of a detector of this package."""
    return lambda keys: write(
        tmp_path / "mine.yaml", {"MODEL.META_ARCHITECTURE": "PointsCenterNet", "VERSION": 2} | keys
    )


def test_keys_of_detectron2s_main_branch_in_a_file_of_ones_own(plain):
    keys = {"FLOAT32_PRECISION": "", "SOLVER.BASE_LR_END": 0.0, "SEED": 3}
    assert load_config(plain(keys)).SEED == 3


# ------------------------------------------------------------------------------------ misspelt keys
@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("SOLVER.OPTIMISER", "SOLVER.OPTIMIZER"),
        ("MODEL.OPTIMIZER", "SOLVER.OPTIMIZER"),
        ("OPTIMIZER", "SOLVER.OPTIMIZER"),
        ("MODEL.NUM_CLASSES", "MODEL.HEATMAP.NUM_CLASSES"),
        ("MODEL.POINTS_CENTRENET.TASKS", "MODEL.POINTS_CENTERNET.TASKS"),
        ("TEST.KITI.ROUND_RESULTS", "TEST.KITTI.ROUND_RESULTS"),
        ("INPUT.CENTER_CROP.SCALE_S", "INPUT.CENTER_CROP.SCALES"),
        ("MODEL.HEATMAP.TOPK", "MODEL.HEATMAP.TOP_K"),
        ("SOLVER.CENTER_CROP.SHIFT", "INPUT.CENTER_CROP.SHIFT"),
        ("solver.base_lr", "SOLVER.BASE_LR"),
        ("SOLVER.LR", "SOLVER.BASE_LR"),
    ],
)
def test_a_misspelt_key_is_answered_with_the_nearest(plain, key, nearest):
    path = plain({key: 1})
    for told, source in ((error_of(path), f"{path}: "), (error_of("", [key, 1]), "")):
        assert told.startswith(f"{source}{key} is no key (nearest: ")
        assert nearest in re.search(r"nearest: ([^)]*)", told)[1].split(", ")
        assert "add_keys" in told


def test_several_misspelt_keys_are_named_at_once_with_the_file_that_has_them(tmp_path):
    base = write(tmp_path / "base.yaml", {f"SOLVER.X{i}": 1 for i in range(7)} | {"SEED": 1})
    child = write(tmp_path / "child.yaml", {"_BASE_": "base.yaml", "SEED": 2})
    told = error_of(child)
    assert told.startswith(f"{base}: SOLVER.X0 is no key")
    assert "SOLVER.X4" in told
    assert "; 2 more." in told
    assert nearest_keys("QWERTY.ZZZ", ["SOLVER.BASE_LR", "TEST.FLIP"]) == []


# -------------------------------------------------------------------------------- values of a file
@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("SOLVER.IMS_PER_BATCH", "many", "a whole number, 1 or more"),
        ("TEST.SCALES", 1.0, "a list of 1 or more entries, each a number, more than 0"),
        ("MODEL.HEATMAP.TOP_K", 1.5, "a whole number, 1 or more"),
        ("TEST.FLIP", "yes", "True or False"),
        ("INPUT.FLIP_PROBABILITY", "nan", "a number, 0 or more and at most 1"),
        ("MODEL.RESNETS.DEPTH", "deep", "of type int"),
    ],
)
def test_a_value_of_another_type_names_file_key_and_what_is_allowed(plain, key, value, allowed):
    assert_told(plain, key, value, f"{key} is {value!r}; it must be {allowed}.")


def test_a_block_without_keys_says_nothing(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("SOLVER:\nINPUT:\n  CENTER_CROP:\n")
    assert load_config(str(file)) == load_config()


# ------------------------------------------------------------------- keys that nothing reads
UNREAD = [
    ("INPUT.RANDOM_FLIP", "vertical", "INPUT.FLIP_PROBABILITY"),
    ("INPUT.RANDOM_FLIP", "horizontal", "INPUT.FLIP_PROBABILITY"),  # the default, by hand
    ("INPUT.RANDOM_FLIP", "none", "INPUT.FLIP_PROBABILITY"),  # flips stay on
    ("INPUT.CROP.ENABLED", True, "INPUT.CENTER_CROP"),
    ("INPUT.MIN_SIZE_TRAIN", [640], "INPUT.TRAIN_SIZE"),
    ("INPUT.MAX_SIZE_TRAIN", 1000, "INPUT.TRAIN_SIZE"),
    ("MODEL.MASK_ON", True, "masks"),
    ("MODEL.KEYPOINT_ON", True, "MODEL.POINTS_CENTERNET.TASKS"),
    ("MODEL.ROI_HEADS.NUM_CLASSES", 3, "MODEL.HEATMAP"),
    ("MODEL.RPN.NMS_THRESH", 0.5, "MODEL.HEATMAP"),
    ("MODEL.RETINANET.NUM_CLASSES", 3, "MODEL.HEATMAP"),
    ("MODEL.FPN.OUT_CHANNELS", 128, "block of its own"),
    ("MODEL.RESNETS.DEPTH", 101, "block of its own"),
    ("MODEL.HOURGLASS.RECOMPUTE", True, "block of its own"),
    ("DATALOADER.ASPECT_RATIO_GROUPING", True, "set it to False"),
    ("DATALOADER.REPEAT_THRESHOLD", 0.5, "SAMPLER_TRAIN"),
    ("DATASETS.PROPOSAL_FILES_TRAIN", ["a"], "proposals"),
    ("TEST.AUG.MIN_SIZES", [400], "TEST.SCALES"),
]


@pytest.mark.parametrize(("key", "value", "instead"), UNREAD)
def test_a_key_that_nothing_reads_is_refused_with_what_to_use(
    points, tmp_path, key, value, instead
):
    child = write(tmp_path / "child.yaml", {"_BASE_": points, key: value})
    for told, source in ((error_of(child), f"{child}: "), (error_of(points, [key, value]), "")):
        assert told.startswith(f"{source}{key} is ")
        assert "nothing that PointsCenterNet needs reads this key" in told
        assert instead in told
    cfg = load_config(points)
    default = value_of(cfg, key)
    cfg.merge_from_list([key, value])
    if value_of(cfg, key) not in (default, True):  # grouping is off in our files, on by default
        with pytest.raises(ValueError, match=f"^{re.escape(key)} is .*nothing"):
            setup(cfg)


def test_what_says_that_a_thing_is_off_may_stand(points):
    setup(load_config(points, [*NOTHING, "MODEL.MASK_ON", False, "TEST.AUG.ENABLED", False]))


def test_backbones_of_detectron2_read_their_own_keys(config_root, points):
    fpn = str(config_root / FPN)
    load_config(fpn, ["MODEL.RESNETS.DEPTH", 101, "MODEL.FPN.NORM", "BN"])
    resnet = ["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RESNETS.DEPTH", 101]
    load_config(points, resnet)
    assert "MODEL.FPN.NORM" in error_of(points, [*resnet, "MODEL.FPN.NORM", "BN"])


def test_a_backbone_of_ones_own_may_read_any_key(points):
    def build_my_backbone(cfg, input_shape):
        raise NotImplementedError

    BACKBONE_REGISTRY.register(build_my_backbone)
    try:
        mine = ["MODEL.BACKBONE.NAME", "build_my_backbone"]
        load_config(points, [*mine, "MODEL.RESNETS.DEPTH", 101, "MODEL.FPN.NORM", "BN"])
    finally:
        del BACKBONE_REGISTRY._obj_map["build_my_backbone"]


def test_detectors_of_others_are_left_alone_and_derived_ones_are_not(points):
    retinanet = ["MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.RETINANET.NUM_CLASSES", 3]
    backbone = ["MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone"]
    flip = ["INPUT.RANDOM_FLIP", "vertical"]
    setup(load_config(points, [*retinanet, *backbone, *NOTHING, *flip]))

    class Derived(PointsCenterNet):
        pass

    META_ARCH_REGISTRY.register(Derived)
    try:
        assert "RANDOM_FLIP" in error_of(points, ["MODEL.META_ARCHITECTURE", "Derived", *flip])
    finally:
        del META_ARCH_REGISTRY._obj_map["Derived"]


def test_a_name_that_is_not_registered_is_answered_with_near_ones(points):
    for key, name, near in (
        ("MODEL.META_ARCHITECTURE", "PointCenterNet", "'PointsCenterNet'"),
        ("MODEL.BACKBONE.NAME", "build_encoder_decodr_backbone", "encoder_decoder_backbone'"),
    ):
        with pytest.raises(ValueError, match=rf"^{key} is '{name}'; .*{near}.*Import the module"):
            setup(load_config(points, [key, name]))


# ------------------------------------------------------------------------ keys of one's own
def add_mine(cfg) -> None:
    cfg.MODEL.MINE = CfgNode({"WIDTH": 3})
    cfg.MODEL.OPEN = CfgNode(new_allowed=True)


def test_own_keys_are_added_merged_saved_and_loaded(tmp_path, points):
    given = [*NOTHING, "MODEL.MINE.WIDTH", "5", "MODEL.OPEN.ANY", 1]
    cfg = setup(load_config(points, given, add_keys=[add_mine]))
    assert (cfg.MODEL.MINE.WIDTH, cfg.MODEL.OPEN.ANY) == (5, 1)
    saved = tmp_path / "config.yaml"
    saved.write_text(cfg.dump())
    again = load_config(str(saved), add_keys=[add_mine])
    assert yaml.safe_load(again.dump()) == yaml.safe_load(cfg.dump())
    told = error_of(str(saved))
    assert told.startswith(f"{saved}: MODEL.MINE.WIDTH is no key")
    assert "load_config(..., add_keys=[add_mine])" in told


# ------------------------------------------------------------------------------------- setup once
def test_setup_runs_once_per_config(points, monkeypatch):
    runs = []
    checked = engine_setup.check_config
    monkeypatch.setattr(engine_setup, "check_config", lambda cfg: (runs.append(1), checked(cfg)))
    cfg = setup(load_config(points, NOTHING))
    setup(cfg)
    setup(cfg.clone())
    cfg.freeze()
    assert setup(cfg).is_frozen()
    assert len(runs) == 1
    changed = cfg.clone()
    changed.defrost()
    changed.TEST.FLIP = True
    setup(changed)
    assert len(runs) == 2
    monkeypatch.setattr(engine_setup.os, "getpid", lambda: -1)  # a started process has no datasets
    setup(pickle.loads(pickle.dumps(cfg)))
    assert len(runs) == 3
    assert "__ready__" not in cfg.dump()


def test_public_name_and_the_model_of_what_it_loads(points):
    assert centernet_d2.load_config is load_config
    cfg = load_config(points, [*NOTHING, "MODEL.DEVICE", "meta"])
    assert isinstance(build_model(setup(cfg)), PointsCenterNet)
