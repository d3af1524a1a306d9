"""Names in weights: those that are known, those that are a guess, and joints with their limbs."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from published_networks import points_shapes, recorded

from centernet_d2 import Predictor
from centernet_d2.checkpoint.detect_source import detect_source
from centernet_d2.checkpoint.matching_config import config_node, matching_config
from centernet_d2.checkpoint.model_info import ModelInfo
from centernet_d2.engine.checkpointer import Checkpointer
from centernet_d2.engine.ema import copy_into
from centernet_d2.engine.evaluate import load_for_evaluation
from centernet_d2.engine.saved_names import saved_names
from centernet_d2.engine.setup import setup
from centernet_d2.engine.trainer import Trainer
from centernet_d2.progress import tell_once
from centernet_d2.structures.skeleton import Skeleton

from .small_world import CLASSES, write_dataset, write_poses

OWN = [f"part{index}" for index in range(20)]
NAMES, LIMBS = ["tip", "west", "east"], [[1, 2], [1, 3]]
POSE = "MODEL.POINTS_CENTERNET.POSE"
NOWHERE = ("DATASETS.TRAIN", (), "DATASETS.TEST", ())


@pytest.fixture
def warned(caplog):
    """Warnings so far, as text; nothing was told before."""
    tell_once.cache_clear()
    caplog.set_level(logging.WARNING, "centernet_d2")
    return lambda: caplog.text


@pytest.fixture(scope="module")
def twenty(tmp_path_factory):
    """A published form of 20 classes, which are not Pascal VOC's, and a config for it."""
    shapes = points_shapes("resdcn_18")
    shapes |= {"hm.2.weight": (20, 64, 1, 1), "hm.2.bias": (20,)}
    state = recorded(shapes)
    file = tmp_path_factory.mktemp("own") / "mine.pth"
    torch.save({"epoch": 3, "state_dict": state}, file)

    def make(*overrides):
        keys = matching_config(detect_source(state)) | {"MODEL.DEVICE": "cpu"}
        cfg = config_node(keys | {"MODEL.WEIGHTS": str(file), "MODEL.HEATMAP.NUM_CLASSES": 0})
        cfg.merge_from_list(list(overrides))
        return cfg

    return make


def test_a_datasets_names_win_over_a_guess_and_it_is_told_once(twenty, tmp_path, warned):
    spec = write_dataset(tmp_path, classes=OWN)
    cfg = setup(twenty("DATASETS.TRAIN", (), "DATASETS.TEST", (spec,)))
    model = build_model(cfg)
    for _ in range(2):
        assert load_for_evaluation(cfg, model) == OWN
    told = "names no classes; by their number, 20, they are guessed to be aeroplane"
    assert warned().count(told) == 1
    assert "The dataset's are used: part0, part1, part2 and 17 more." in warned()
    assert "was trained on" not in warned()
    predictor = Predictor(cfg)
    assert (predictor.class_names, predictor.guessed) == (OWN, [])


def test_predictions_with_guessed_names_say_so(twenty, warned):
    predictor = Predictor(twenty(*NOWHERE))
    assert predictor.class_names[0] == "aeroplane"
    assert predictor.names == {"guessed": ["class_names"]}
    assert warned().count("bird and 17 more. Name a dataset in DATASETS.TEST") == 1


def test_a_zoo_entry_knows_its_names():
    saved = saved_names("published:COCO-Keypoints/points_dla34_1x")
    assert (saved.class_names, saved.guessed) == (("person",), ())
    assert saved.skeleton.names[0] == "nose"


@pytest.fixture
def poses(config, tmp_path):
    """A config of three joints, and a checkpoint that its trainer has saved."""
    tasks = ("MODEL.POINTS_CENTERNET.TASKS", ["box2d", "pose"])
    spec = write_poses(tmp_path / "poses", NAMES, skeleton=LIMBS, keypoint_flip_map=[NAMES[1:]])
    cfg = config(*tasks, "DATASETS.TRAIN", (spec,), "DATASETS.TEST", (), "SOLVER.MAX_ITER", 1)
    trainer = Trainer(cfg)
    trainer.checkpointer.save("poses")
    return cfg, trainer.checkpointer.get_checkpoint_file()


def test_joints_travel_with_limbs_and_pairs(poses):
    cfg, weights = poses
    saved = torch.load(weights, weights_only=True)
    assert (saved["joint_names"], saved["class_names"]) == (NAMES, list(CLASSES))
    assert saved["joint_flip_map"] == [["west", "east"]]
    assert saved["joint_edges"] == [["tip", "west"], ["tip", "east"]]
    cfg.merge_from_list([*NOWHERE, "MODEL.WEIGHTS", weights, "TEST.FLIP", True])
    assert cfg.MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS == 0
    predictor = Predictor(cfg)
    pose = predictor.cfg.MODEL.POINTS_CENTERNET.POSE
    assert (pose.NUM_JOINTS, pose.FLIP_INDICES) == (3, [0, 2, 1])
    assert predictor.skeleton.edge_indices() == [(0, 1), (0, 2)]
    assert predictor.skeleton.sides() == [0, 1, 2]
    assert predictor.names == {key: saved[key] for key in saved if key.startswith("joint_")}
    found = predictor(np.zeros((40, 40, 3), np.uint8))["instances"]
    assert found.pred_keypoints.shape[1:] == (3, 3)


def test_other_flips_than_the_checkpoints_are_told(poses, warned):
    cfg, weights = poses
    other = (f"{POSE}.NUM_JOINTS", 3, f"{POSE}.FLIP_INDICES", [2, 1, 0])
    cfg.merge_from_list([*NOWHERE, *other, "MODEL.WEIGHTS", weights])
    setup(cfg)
    assert "FLIP_INDICES is [2, 1, 0], but" in warned()
    assert "was trained with [0, 2, 1]" in warned()


def test_data_with_other_pairs_than_the_checkpoint_is_told(poses, tmp_path, warned):
    cfg, weights = poses
    spec = write_poses(tmp_path / "turned", NAMES, keypoint_flip_map=[NAMES[:2]])
    cfg.merge_from_list(["DATASETS.TRAIN", (), "DATASETS.TEST", (spec,), "MODEL.WEIGHTS", weights])
    cfg = setup(cfg)
    load_for_evaluation(cfg, build_model(cfg))
    assert "exchanges (('tip', 'west'),), but" in warned()
    assert "was trained with (('west', 'east'),)" in warned()


def test_older_checkpoints_have_names_alone(poses, tmp_path):
    cfg, weights = poses
    content = torch.load(weights, weights_only=True)
    content["joint_names"] = ["tip", "left_ear", "right_ear"]
    del content["joint_flip_map"], content["joint_edges"]
    torch.save(content, tmp_path / "older.pth")
    cfg.merge_from_list([*NOWHERE, "MODEL.WEIGHTS", str(tmp_path / "older.pth")])
    predictor = Predictor(cfg)
    assert predictor.skeleton.flip_indices() == [0, 2, 1]
    assert predictor.skeleton.edges == ()
    del content["joint_names"], content["class_names"]
    torch.save(content, tmp_path / "oldest.pth")
    cfg.merge_from_list(
        ["MODEL.WEIGHTS", str(tmp_path / "oldest.pth"), "MODEL.HEATMAP.NUM_CLASSES", 2]
    )
    cfg.merge_from_list([f"{POSE}.NUM_JOINTS", 3, f"{POSE}.FLIP_INDICES", [0, 2, 1]])
    assert Predictor(cfg).skeleton is None


def test_a_skeleton_comes_back_as_it_was():
    for skeleton in (
        Skeleton(("a", "b"), (("a", "b"),), (("b", "a"),), source="x"),
        Skeleton(("a", "b"), source="x"),  # nothing known of a flip
        Skeleton(("left_eye", "right_eye"), (), source="x"),  # no joint changes
    ):
        assert Skeleton.from_saved(skeleton.saved(), "x") == skeleton


def test_entries_of_other_forms_name_nothing_or_are_refused():
    assert ModelInfo.of({"class_names": "a,b"}, "w").class_names == ()
    assert ModelInfo.of({"class_names": {0: "a"}, "guessed": 3}, "w").guessed == ()
    assert ModelInfo.of({"class_names": ["a", "b"]}, "w").class_names == ("a", "b")
    with pytest.raises(ValueError, match=r"^checkpoint 'w': 'joint_flip_map' and .* two names"):
        _ = ModelInfo.of({"joint_names": ["a", "b"], "joint_flip_map": [["a"]]}, "w").skeleton
    with pytest.raises(ValueError, match=r"^checkpoint 'w': 'edges' names the joints \['c'\]"):
        _ = ModelInfo.of({"joint_names": ["a", "b"], "joint_edges": [["a", "c"]]}, "w").skeleton


# ---------------------------------------------------------------------------- compiled models
def compiled_inside(model):
    model[1] = torch.compile(model[1])
    return model


@pytest.mark.parametrize("wrap", [torch.compile, compiled_inside])
def test_compiled_models_save_and_load_plain_names(tmp_path, wrap):
    def network(seed):
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))

    plain = network(0)
    expected = {name: value.clone() for name, value in plain.state_dict().items()}
    Checkpointer(wrap(plain), str(tmp_path)).save("compiled")
    saved = torch.load(tmp_path / "compiled.pth", weights_only=True)["model"]
    assert list(saved) == list(expected)
    others = network(1), wrap(network(2)), wrap(network(3))
    for other in others[:2]:
        Checkpointer(other, mismatch="fail").load(str(tmp_path / "compiled.pth"))
    copy_into(others[2], saved)  # as the weights that an average was taken of
    for other in others:
        found = list(other.state_dict().values())
        assert all(torch.equal(a, b) for a, b in zip(found, expected.values(), strict=True))
