"""Channels of classes and joints by name, on numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_model
from published_networks import points_shapes, recorded

from centernet_d2.checkpoint.heads import last_layers, same_names, taken_by_name
from centernet_d2.checkpoint.model_info import ModelInfo
from centernet_d2.engine.checkpointer import Checkpointer
from centernet_d2.modeling.meta_arch import points_centernet  # noqa: F401
from centernet_d2.structures.skeleton import Skeleton

KEY = "MODEL.POINTS_CENTERNET.BOX2D.SIZE_FORM"


def test_case_blanks_and_order_do_not_matter():
    ours, theirs = ["Traffic_light", "cat", "Dog", "dog"], ["dog", "traffic light", "DOG"]
    assert same_names(ours, theirs) == {0: 1, 2: 0, 3: 0}


def test_pairs_of_channels_stay_together():
    start, given = torch.ones(4, 1), torch.arange(6.0)[:, None]
    weights = taken_by_name(start, given, {1: 2}, 2, 3)
    assert weights.flatten().tolist() == [0, 0, 4, 5]  # of a new name: none that is random
    bias = taken_by_name(start.flatten(), given.flatten(), {1: 2}, 2, 3)
    assert bias.tolist() == [1, 1, 4, 5]  # of a new name: the rate that the model starts with
    assert start.all()
    assert taken_by_name(start, torch.zeros(5, 1), {0: 0}, 2, 3) is None
    assert taken_by_name(start, torch.zeros(3, 1), {0: 0}, 2, 3) is None


def test_only_the_last_layer_has_channels_of_its_own():
    names = [f"head.stacks.0.{n}" for n in ("heatmap.0.weight", "heatmap.2.weight", "size.2.bias")]
    assert last_layers([*names, "backbone.heatmap.2.weight"], ["heatmap"]) == [names[1]]
    bare = ["head.stacks.1.top_left.heatmap.0.bias"]
    assert last_layers(bare, ["heatmap", "size"]) == bare


@pytest.mark.parametrize(
    ("kind", "classes", "told"),
    [
        ("coco", ["zebra", "potato", "Person"], "2 of 3 classes taken from the checkpoint's 80 (a"),
        ("coco", ["potato"], "0 of 1 classes taken from the checkpoint's 80 (a guess from their"),
    ],
)
def test_published_cocos_names_are_known(tmp_path, caplog, kind, classes, told):
    from centernet_d2 import model_zoo

    file = tmp_path / "ctdet_coco_resdcn18.pth"
    state = recorded(points_shapes("resdcn_18"))
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, file)
    cfg = model_zoo.get_config("points_resnet18_dcn_140e")
    cfg.MODEL.DEVICE, cfg.MODEL.HEATMAP.NUM_CLASSES = "cpu", len(classes)
    model = build_model(cfg)
    before = model.head.stacks[0]["heatmap"][2].bias.clone()
    with caplog.at_level("INFO"):
        Checkpointer(model, class_names=classes).load(str(file))
    assert told in caplog.text
    after, rows = model.head.stacks[0]["heatmap"][2].bias, {"zebra": 22, "Person": 0}
    for index, name in enumerate(classes):
        expected = state["hm.2.bias"][rows[name]] if name in rows else before[index]
        assert after[index] == expected


def test_joints_are_taken_by_name_too(tiny_config, tmp_path):
    def detector(names):
        cfg = tiny_config("MODEL.POINTS_CENTERNET.TASKS", ["box2d", "pose"])
        cfg.MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS = len(names)
        cfg.MODEL.POINTS_CENTERNET.POSE.FLIP_INDICES = list(range(len(names)))
        skeleton = Skeleton(tuple(names), (), ())
        return build_model(cfg), skeleton

    first, skeleton = detector(["nose", "tail", "paw"])
    Checkpointer(first, str(tmp_path), skeleton=skeleton).save("first")
    second, skeleton = detector(["Paw", "ear", "nose", "tail"])
    Checkpointer(second, skeleton=skeleton).load(str(tmp_path / "first.pth"))
    for branch, each in (("joint_displacement", 2), ("joint_heatmap", 1)):
        ours, theirs = (
            m.head.stacks[0][branch][2].weight.unflatten(0, (-1, each)) for m in (second, first)
        )
        assert ours[[0, 2, 3]].equal(theirs[[2, 0, 1]])
        assert not ours[1].equal(theirs[0])


@pytest.mark.parametrize("theirs", ["", "cells", "log"])
def test_sizes_in_another_form_start_anew(tiny_config, tmp_path, theirs, caplog):
    first, second = (build_model(tiny_config(KEY, form)) for form in (theirs or "cells", "log"))
    saver = Checkpointer(first, str(tmp_path))
    if theirs:  # else from before the key
        text = f"MODEL: {{POINTS_CENTERNET: {{BOX2D: {{SIZE_FORM: {theirs}}}}}}}"
        saver.model_info = lambda: ModelInfo("", "0.1.0", text)
    saver.save("first")
    before = second.head.stacks[0]["size"][2].weight.clone()
    Checkpointer(second).load(str(tmp_path / "first.pth"))
    given, taken = (model.head.stacks[0]["size"] for model in (first, second))
    assert taken[0].weight.equal(given[0].weight)
    assert taken[2].weight.equal(given[2].weight if theirs == "log" else before)
    told = f"{KEY} is 'log', the checkpoint's 'cells': the last layer of 'size' starts anew."
    assert (told in caplog.messages) == (theirs != "log")
