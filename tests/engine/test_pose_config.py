"""Joints of a config: filled from the datasets, compared with them, and never made up."""

from __future__ import annotations

import logging

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances

from centernet_d2.data.datasets.skeletons import common_skeleton
from centernet_d2.engine.checkpointer import Checkpointer
from centernet_d2.engine.evaluate import evaluate_only
from centernet_d2.engine.setup import load_config, setup
from centernet_d2.engine.trainer import Trainer
from centernet_d2.modeling.registration import complete_config, output_skeleton
from centernet_d2.progress import tell_once
from centernet_d2.structures.skeleton import COCO_JOINTS

from .small_world import ROOT, write_dataset, write_poses

POSE = "MODEL.POINTS_CENTERNET.POSE"
TASKS = ("MODEL.POINTS_CENTERNET.TASKS", ["box2d", "pose"])
NAMES = ["nose", "left_eye", "right_eye"]
PERSONS = ROOT / "configs" / "COCO-Keypoints" / "points_dla34_1x.yaml"
# 17 joints, and none of them is where COCO has one.
AP10K = [
    *("left_eye", "right_eye", "nose", "neck", "root_of_tail"),
    *("left_shoulder", "left_elbow", "left_front_paw"),
    *("right_shoulder", "right_elbow", "right_front_paw"),
    *("left_hip", "left_knee", "left_back_paw", "right_hip", "right_knee", "right_back_paw"),
]
AP10K_FLIP = [1, 0, 2, 3, 4, 8, 9, 10, 5, 6, 7, 14, 15, 16, 11, 12, 13]


@pytest.fixture
def register():
    """A function (name, **metadata) that registers a dataset of one class, for this test."""
    added = []

    def add(name: str, **metadata) -> str:
        DatasetCatalog.register(name, lambda: [])
        MetadataCatalog.get(name).set(**{"thing_classes": ["animal"], **metadata})
        added.append(name)
        return name

    yield add
    for name in added:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def pose_config(train=(), test=(), *overrides) -> CfgNode:
    datasets = ("DATASETS.TRAIN", tuple(train), "DATASETS.TEST", tuple(test))
    detector = ("MODEL.META_ARCHITECTURE", "PointsCenterNet")
    return load_config(
        "", [*detector, *TASKS, "MODEL.HEATMAP.NUM_CLASSES", 1, *datasets, *overrides]
    )


def filled(cfg: CfgNode) -> tuple[int, list[int], list[int]]:
    assert complete_config(cfg) == []
    pose = cfg.MODEL.POINTS_CENTERNET.POSE
    return pose.NUM_JOINTS, pose.FLIP_INDICES, pose.CLASSES


# ---- filling ----


def test_number_flip_and_classes_come_from_the_dataset(register):
    name = register(
        "three_joints",
        thing_classes=["ball", "cat", "dog"],
        keypoint_names=NAMES,
        keypoint_flip_map=[("left_eye", "right_eye")],
        keypoint_classes=["dog", "cat"],
    )
    three = ("MODEL.HEATMAP.NUM_CLASSES", 3)
    for places in (((name,), ()), ((), (name,)), ((name,), (name,))):
        assert filled(pose_config(*places, *three)) == (3, [0, 2, 1], [1, 2])


def test_a_second_call_changes_nothing(register):
    cfg = pose_config([register("three_joints", keypoint_names=NAMES)])
    assert filled(cfg) == filled(cfg) == (3, [0, 2, 1], [])


def test_pairs_follow_from_the_names_and_all_classes_have_joints(register):
    both = {"thing_classes": ["cat", "dog"], "keypoint_names": NAMES}
    name = register("three_joints", keypoint_classes=["dog", "cat"], **both)
    two = ("MODEL.HEATMAP.NUM_CLASSES", 2)
    assert filled(pose_config([name], [], *two)) == (3, [0, 2, 1], [])
    del MetadataCatalog.get(name).keypoint_classes
    assert filled(pose_config([name], [], *two)) == (3, [0, 2, 1], [])


def test_what_is_set_stays(register):
    name = register("three_joints", keypoint_names=NAMES, keypoint_classes=["animal"])
    given = (f"{POSE}.NUM_JOINTS", 3, f"{POSE}.FLIP_INDICES", [0, 2, 1], f"{POSE}.CLASSES", [0])
    assert filled(pose_config([name], [], *given)) == (3, [0, 2, 1], [0])


def test_a_saved_config_is_left_alone_where_its_data_is_not():
    given = (f"{POSE}.NUM_JOINTS", 3, f"{POSE}.FLIP_INDICES", [1, 0, 2])
    assert filled(pose_config(["gone_train"], ["gone_val"], *given)) == (3, [1, 0, 2], [])


def test_nothing_is_read_without_the_task(register):
    name = register("three_joints", keypoint_names=NAMES)
    cfg = pose_config([name], [], "MODEL.POINTS_CENTERNET.TASKS", ["box2d"])
    assert filled(cfg) == (0, [], [])
    assert output_skeleton(cfg) is None


def test_the_configs_of_persons_agree_with_cocos_metadata():
    as_shipped = load_config(str(PERSONS))
    flip = list(as_shipped.MODEL.POINTS_CENTERNET.POSE.FLIP_INDICES)
    opened = load_config(str(PERSONS), [f"{POSE}.NUM_JOINTS", 0, f"{POSE}.FLIP_INDICES", []])
    assert filled(as_shipped) == filled(opened) == (17, flip, [])
    assert output_skeleton(as_shipped).names == COCO_JOINTS


# ---- contradictions ----


def test_17_joints_in_another_order_do_not_take_cocos_flip(register):
    name = register("ap10k", keypoint_names=AP10K)
    cfg = load_config(str(PERSONS), ["DATASETS.TRAIN", (name,), "DATASETS.TEST", ()])
    with pytest.raises(ValueError, match=r"POSE\.FLIP_INDICES is \[0, 2, 1, 4, 3.*ap10k") as error:
        complete_config(cfg)
    assert str(AP10K_FLIP) in str(error.value)
    assert "set FLIP_INDICES to [], and NUM_JOINTS to 0" in str(error.value)
    cfg.MODEL.POINTS_CENTERNET.POSE.FLIP_INDICES = []
    assert filled(cfg) == (17, AP10K_FLIP, [])


def test_another_number_of_joints_names_both_and_the_cure(register):
    name = register("three_joints", keypoint_names=NAMES)
    cfg = load_config(str(PERSONS), ["DATASETS.TRAIN", (name,), "DATASETS.TEST", ()])
    with pytest.raises(ValueError, match=r"NUM_JOINTS is 17.*has 3 joints: nose, left_eye.*to 0"):
        complete_config(cfg)


def test_a_given_flip_is_believed_where_the_data_says_nothing_but_not_in_silence(register):
    name = register("nameless_sides", keypoint_names=["p0", "p1", "p2"])
    cfg = pose_config([name], [], f"{POSE}.FLIP_INDICES", [1, 0, 2])
    assert "does not say which joints a flip exchanges" in complete_config(cfg)[0]
    assert cfg.MODEL.POINTS_CENTERNET.POSE.FLIP_INDICES == [1, 0, 2]
    with pytest.raises(ValueError, match=r"FLIP_INDICES must name for each of 3 joints"):
        complete_config(pose_config([name], [], f"{POSE}.FLIP_INDICES", [1, 0]))


def test_a_flip_needs_pairs_and_no_flip_needs_none(register):
    name = register("nameless_sides", keypoint_names=["p0", "p1", "p2"])
    with pytest.raises(ValueError, match=r"nameless_sides.*keypoint_flip_map.*FLIP_PROBABILITY"):
        complete_config(pose_config([name]))
    none = ("INPUT.FLIP_PROBABILITY", 0.0)
    assert filled(pose_config([name], [], *none)) == (3, [], [])
    with pytest.raises(ValueError, match="keypoint_flip_map"):
        complete_config(pose_config([name], [], *none, "TEST.FLIP", True))


def test_datasets_with_different_joints(register):
    first = register("first_joints", keypoint_names=NAMES)
    second = register("second_joints", keypoint_names=[*NAMES[:2], "right_ear"])
    with pytest.raises(ValueError, match=r"'first_joints'.*'second_joints'.*joint 2 is 'right_eye"):
        complete_config(pose_config([first], [second]))
    third = register("third_joints", keypoint_names=NAMES[:2])
    with pytest.raises(ValueError, match="3 joints in the first and 2 in the second"):
        complete_config(pose_config([first, third]))


def test_datasets_with_different_flips(register):
    first = register("first_joints", keypoint_names=NAMES)
    second = register("second_joints", keypoint_names=NAMES, keypoint_flip_map=[])
    with pytest.raises(ValueError, match=r"'first_joints'.*'second_joints'.*'keypoint_flip_map'"):
        complete_config(pose_config([first], [second]))


def test_what_one_dataset_does_not_know_of_a_flip_another_may(register):
    names = ["p0", "p1", "p2"]
    first = register("first_joints", keypoint_names=names, keypoint_oks_sigmas=[0.1] * 3)
    second = register("second_joints", keypoint_names=names, keypoint_flip_map=[("p0", "p2")])
    boxes = register("only_boxes")
    cfg = pose_config([boxes, first], [second])
    assert filled(cfg) == (3, [2, 1, 0], [])
    assert common_skeleton([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]).oks_sigmas == (0.1,) * 3
    assert output_skeleton(cfg).names == tuple(names)
    assert common_skeleton([boxes]) is None


def test_unknown_names_and_indices_of_classes(register):
    name = register("three_joints", keypoint_names=NAMES, keypoint_classes=["animal", "person"])
    with pytest.raises(ValueError, match=r"three_joints.*keypoint_classes.*\['person'\].*animal"):
        complete_config(pose_config([name]))
    with pytest.raises(ValueError, match=r"POSE\.CLASSES is \[1\].*0 to 0"):
        complete_config(pose_config([name], [], f"{POSE}.CLASSES", [1]))


@pytest.mark.parametrize("sigmas", [[0.1] * 17, [0.1, 0.1, 0.0]])
def test_wrong_sigmas_name_their_key_before_anything_runs(register, sigmas):
    name = register("three_joints", keypoint_names=NAMES)
    with pytest.raises(ValueError, match=r"^TEST\.KEYPOINT_OKS_SIGMAS is .* be 3 positive numbers"):
        complete_config(pose_config([name], [], "TEST.KEYPOINT_OKS_SIGMAS", sigmas))
    complete_config(pose_config([name], [], "TEST.KEYPOINT_OKS_SIGMAS", [0.1] * 3))


# ---- data without joints ----


def test_no_number_and_no_names(register):
    with pytest.raises(ValueError, match=r"NUM_JOINTS is 0, and only_boxes names no joints") as e:
        complete_config(pose_config([register("only_boxes")]))
    for cure in ("'coco:<json>:<image dir>'", "register_coco_instances", "keypoint_names="):
        assert cure in str(e.value)


def test_a_dataset_that_names_no_joints_is_believed_but_not_in_silence(register, caplog):
    tell_once.cache_clear()
    name = register("only_boxes")
    setup(pose_config([name], [], f"{POSE}.NUM_JOINTS", 3, f"{POSE}.FLIP_INDICES", [0, 2, 1]))
    assert "only_boxes names no joints" in caplog.text
    assert "3 joints and FLIP_INDICES [0, 2, 1]" in caplog.text


THREE = (f"{POSE}.NUM_JOINTS", 3, f"{POSE}.FLIP_INDICES", [0, 2, 1])


@pytest.mark.parametrize("kind", ["boxes", "unnamed", "unlabelled"])
def test_training_without_any_joint_is_an_error_that_names_the_dataset(config, tmp_path, kind):
    if kind == "boxes":
        spec = write_dataset(tmp_path / "data")
    else:
        named = kind == "unlabelled"
        spec = write_poses(tmp_path / "data", NAMES, named=named, visibility=0 if named else 2)
    cfg = config(*TASKS, *THREE, "DATASETS.TRAIN", (spec,), "DATASETS.TEST", ())
    with pytest.raises(ValueError, match=r"no annotation of boxes_\w+ has a labelled joint") as e:
        Trainer(cfg)
    assert "'coco:<json>:<image dir>' names them in 'keypoints' of its categories" in str(e.value)


def test_records_with_joints_go_on_where_their_dataset_cannot_name_them(config, tmp_path):
    write_poses(tmp_path / "data", NAMES)
    name = "poses_of_detectron2"
    folder = tmp_path / "data"
    register_coco_instances(name, {}, str(folder / "boxes.json"), str(folder / "pictures"))
    try:
        cfg = config(*TASKS, *THREE, "DATASETS.TRAIN", (name,), "DATASETS.TEST", ())
        trainer = Trainer(cfg)
        assert trainer.checkpointer.skeleton is None
        (sample,) = next(iter(trainer.data_loader))[:1]
        assert sample["instances"].gt_keypoints.tensor.shape[1:] == (3, 3)
        with pytest.raises(ValueError, match=r"names no joints.*register_coco_instances"):
            setup(config(*TASKS, "DATASETS.TRAIN", (name,), "DATASETS.TEST", ()))
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_the_best_score_of_joints_needs_data_that_names_them(config, tmp_path):
    poses, boxes = write_poses(tmp_path / "poses", NAMES), write_dataset(tmp_path / "boxes")
    best = ("SOLVER.BEST_METRIC", "keypoints/AP", "DATASETS.TRAIN", (poses,))
    with pytest.raises(ValueError, match=r"BEST_METRIC is 'keypoints/AP'.*names no joints"):
        Trainer(config(*TASKS, *best, "DATASETS.TEST", (boxes,)))
    Trainer(config(*TASKS, *best, "DATASETS.TEST", (poses,)))


# ---- checkpoints ----


def test_joints_are_compared_with_those_of_the_checkpoint(config, tmp_path, caplog):
    spec = write_poses(tmp_path / "a", NAMES)
    cfg = config(*TASKS, "DATASETS.TRAIN", (spec,), "DATASETS.TEST", ())
    cfg.SOLVER.MAX_ITER = 1
    trainer = Trainer(cfg)
    assert cfg.MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS == 0  # the trainer's is a copy
    assert trainer.cfg.MODEL.POINTS_CENTERNET.POSE.CLASSES == [1]
    trainer.checkpointer.save("model_0000000")
    weights = trainer.checkpointer.get_checkpoint_file()
    other = write_poses(tmp_path / "b", ["tail", "left_paw", "right_paw"])
    places = ("DATASETS.TRAIN", (other,), "DATASETS.TEST", (other,))
    again = config(*TASKS, *places)
    with pytest.raises(ValueError, match=r"other joints.*joint 0 is 'nose' in the first and 'tail"):
        Trainer(again).resume_or_load(resume=True)
    again.MODEL.WEIGHTS = weights
    with pytest.raises(ValueError, match=r"other joints.*a dataset with the joints nose, left_eye"):
        evaluate_only(again)
    again.OUTPUT_DIR = str(tmp_path / "another run")
    ours = Trainer(again)
    before = ours.model.state_dict()["head.stacks.0.joint_heatmap.2.bias"].clone()
    with caplog.at_level(logging.INFO):
        ours.resume_or_load(resume=False)
    told = "0 of 3 joints taken from the checkpoint's 3: none; new: tail, left_paw, right_paw."
    assert told in caplog.text
    after = ours.model.state_dict()
    assert after["head.stacks.0.joint_heatmap.2.bias"].equal(before)  # as they start
    assert not after["head.stacks.0.joint_displacement.2.weight"].any()


def test_a_model_without_joints_has_no_names(tmp_path):
    Checkpointer(torch.nn.Linear(1, 1), str(tmp_path), class_names=["a"]).save("boxes")
    assert torch.load(tmp_path / "boxes.pth", weights_only=True)["joint_names"] == []
