"""Published files as every loader sees them, and the networks' outputs after that."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from published_networks import (
    POINTS,
    differences,
    mmdetection_shapes,
    on_meta,
    points_shapes,
    recorded,
)

from centernet_d2 import Predictor
from centernet_d2.checkpoint.detect_source import UnknownWeightsError, detect_source
from centernet_d2.checkpoint.files import WeightFileError, read_tensors
from centernet_d2.checkpoint.matching_config import (
    COMMON,
    as_yaml,
    config_node,
    matching_config,
)
from centernet_d2.checkpoint.published import convert, converted_file
from centernet_d2.checkpoint.rename import RenameError
from centernet_d2.engine.checkpointer import Checkpointer, CheckpointMismatchError
from centernet_d2.engine.setup import load_config


def config_for(architecture: str, weights: str, *overrides):
    found = detect_source(on_meta(points_shapes(architecture)))
    cfg = config_node(matching_config(found) | {"MODEL.DEVICE": "cpu", "MODEL.WEIGHTS": weights})
    cfg.merge_from_list(list(overrides))
    return cfg


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Path of resdcn_18 as its authors' program saves it, in today's format of torch."""
    file = tmp_path_factory.mktemp("published") / "ctdet_coco_resdcn18.pth"
    state = recorded(points_shapes("resdcn_18"))
    optimizer = {"state": {0: {"step": np.int64(9)}}, "param_groups": [{"lr": np.float64(1)}]}
    torch.save({"epoch": 140, "state_dict": state, "optimizer": optimizer}, file)
    return file


def test_outputs_through_detectron2s_own_predictor(published, caplog):
    caplog.set_level(logging.WARNING)
    predictor = DefaultPredictor(config_for("resdcn_18", f"published:{published}"))
    assert caplog.text == ""  # detectron2 warns of whatever does not fit
    found = differences("resdcn_18", predictor.model)
    assert max(found.values()) < 1e-5, found
    # A test that cannot fail is none: without the weights nothing agrees.
    with np.load(POINTS) as fixture:
        assert np.abs(fixture["resdcn_18/box2d/stack0/hm"]).max() > 0.1


@pytest.mark.parametrize("prefix", ["published:", ""])
@pytest.mark.parametrize("legacy", [False, True])
def test_every_loader_gives_the_same_detections(published, tmp_path, prefix, legacy):
    file = published
    if legacy:  # torch before 1.6, and with DataParallel's prefix
        file = tmp_path / "model_last.pth"
        state = {f"module.{k}": v for k, v in read_tensors(published)["state_dict"].items()}
        torch.save({"epoch": 1, "state_dict": state}, file, _use_new_zipfile_serialization=False)
    cfg = config_for("resdcn_18", f"{prefix}{file}")
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    ours = Predictor(cfg)
    assert len(ours.class_names) == 80
    expected = DefaultPredictor(config_for("resdcn_18", f"published:{published}"))(image)
    found = ours(image)["instances"]
    assert len(found) == 100
    for field in ("pred_boxes", "scores", "pred_classes"):
        ours_, theirs = getattr(found, field), getattr(expected["instances"], field)
        ours_, theirs = getattr(ours_, "tensor", ours_), getattr(theirs, "tensor", theirs)
        assert torch.equal(ours_, theirs)


def test_cached_file_is_detectron2s_and_made_once(published, cache, tmp_path):
    file = converted_file(published)
    content = torch.load(file, weights_only=True)
    assert content.keys() == {
        *("model", "__author__", "pixels", "class_names", "joint_names", "guessed")
    }
    assert content["guessed"] == ["class_names"]
    assert "resdcn_18 of the points repository" in content["__author__"]
    made = file.stat().st_mtime_ns
    moved = tmp_path / "ctdet_coco_resdcn18.pth"
    moved.write_bytes(published.read_bytes())
    assert converted_file(moved) == file  # by content
    assert file.stat().st_mtime_ns == made
    assert converted_file(file) == file  # already converted
    moved.write_bytes(b"<html>")  # replaced: seen, not served from the cache
    with pytest.raises(WeightFileError, match="web page"):
        converted_file(moved)
    assert os.listdir(cache) == ["converted"]
    assert os.listdir(cache / "converted") == [file.name]


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ({"encoder.weight": torch.ones(2)}, UnknownWeightsError),
        ({**on_meta(points_shapes("res_18")), "hm.2.bias": torch.ones(9)}, RenameError),
    ],
)
def test_unfit_files_are_named_and_leave_nothing(tmp_path, cache, state, error):
    file = tmp_path / "other.pth"
    torch.save({k: torch.empty_like(v, device="cpu") for k, v in state.items()}, file)
    with pytest.raises(error, match=r"other\.pth"):
        converted_file(file)
    assert not cache.exists()


def test_full_disk_leaves_nothing(published, cache, monkeypatch):
    def half_a_file(content, stream):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half_a_file)
    with pytest.raises(OSError, match="No space"):
        converted_file(published)
    assert os.listdir(cache / "converted") == []


@pytest.mark.parametrize("mismatch", ["fail", "report"])
@pytest.mark.parametrize("prefix", ["published:", ""])
def test_weights_of_another_architecture_are_named(published, prefix, mismatch):
    model = build_model(config_for("dlav0_34", ""))
    with pytest.raises(CheckpointMismatchError, match="resdcn_18 of the points repository"):
        Checkpointer(model, mismatch=mismatch).load(f"{prefix}{published}")


def test_other_classes_start_anew_and_the_rest_is_used(published, caplog):
    caplog.set_level(logging.INFO)
    model = build_model(config_for("resdcn_18", "", "MODEL.HEATMAP.NUM_CLASSES", 5))
    Checkpointer(model, mismatch="report").load(str(published))
    assert "175 of the model's 177 tensors loaded" in caplog.text
    expected = read_tensors(published)["state_dict"]["layer1.0.conv1.weight"]
    assert torch.equal(model.backbone.layer1[0].conv1.weight, expected)


def test_a_start_fills_only_its_part(tmp_path):
    state = recorded(points_shapes("dla_34"))
    trunk = {k.removeprefix("base."): v for k, v in state.items() if k.startswith("base.")}
    file = tmp_path / "dla34-ba72cf86.pth"
    torch.save({k: v for k, v in trunk.items() if not k.endswith("tracked")}, file)
    model = build_model(config_for("dla_34", ""))
    before = model.head.stacks[0]["heatmap"][0].weight.clone()
    DetectionCheckpointer(model).load(f"published:{file}")
    found = model.backbone.base.base_layer[0].weight
    assert torch.equal(found, state["base.base_layer.0.weight"])
    assert torch.equal(model.head.stacks[0]["heatmap"][0].weight, before)
    content = read_tensors(converted_file(file))
    assert content["class_names"] == []
    assert all(key.startswith("backbone.base.") for key in content["model"])
    assert any(key.endswith("num_batches_tracked") for key in content["model"])


@torch.no_grad()
def test_mmdetections_network_is_the_points_network_on_turned_images():
    """Its layers are those of resdcn_18: equal weights give the published outputs on R, G, B."""
    points = recorded(points_shapes("resdcn_18"))
    for index in (0, 6, 12):
        points[f"deconv_layers.{index}.bias"].zero_()
    theirs = convert(points)
    names = {"hm": "heatmap_head", "wh": "wh_head", "reg": "offset_head"}
    units = {0: 0, 3: 1, 6: 2, 9: 3, 12: 4, 15: 5}
    state = {}
    for key, value in points.items():
        head, *rest = key.split(".")
        if head in names:
            state[".".join(["bbox_head", names[head], *rest])] = value
        elif head != "deconv_layers":
            state[f"backbone.{key}"] = value
        elif key.split(".")[1:] not in (["0", "bias"], ["6", "bias"], ["12", "bias"]):
            index, *name = rest
            kind = "conv" if int(index) in units else "bn"
            unit = units[int(index) - (kind == "bn")]
            name = ".".join(name).replace("conv_offset_mask", "conv_offset")
            state[f"neck.deconv_layers.{unit}.{kind}.{name}"] = value
    shapes = mmdetection_shapes("centernet_resnet18_dcnv2")
    assert {key: tuple(value.shape) for key, value in state.items()} == shapes
    ours = convert({"state_dict": state})
    outputs = []
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for converted, turned in ((theirs, images.flip(1)), (ours, images)):
        model = build_model(config_node(COMMON | converted.found.model | {"MODEL.DEVICE": "cpu"}))
        model.load_state_dict(converted.state_dict, strict=True)
        model.eval()
        outputs.append(model.head(list(model.backbone(turned).values()))[0])
    for name, value in outputs[0].items():
        torch.testing.assert_close(outputs[1][name], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "classes", "name"),
    [
        ("resdcn_18", 80, "COCO-Detection/points_resnet18_dcn_140e"),
        ("resdcn_101", 80, "COCO-Detection/points_resnet101_dcn_140e"),
        ("dla_34", 80, "COCO-Detection/points_dla34_140e"),
        ("hourglass", 80, "COCO-Detection/points_hourglass104_50e"),
        ("resdcn_18", 20, "PascalVOC-Detection/points_resnet18_dcn_384"),
        ("dla_34", 20, "PascalVOC-Detection/points_dla34_384"),
        ("dla_34/pose", 1, "COCO-Keypoints/points_dla34_1x"),
        ("hourglass/pose", 1, "COCO-Keypoints/points_hourglass104_1x"),
        ("dla_34/box3d", 3, "KITTI-Detection3D/points_dla34_3dop"),
        ("centernet_resnet18", 80, "COCO-Detection/points_resnet18_conv_mmdetection_140e"),
        ("centernet_resnet18_dcnv2", 80, "COCO-Detection/points_resnet18_dcn_mmdetection_140e"),
    ],
)
def test_written_config_agrees_with_the_shipped_one(
    architecture, classes, name, config_root, tmp_path
):
    points = not architecture.startswith("centernet")
    shapes = mmdetection_shapes(architecture)
    if points:
        architecture, _, task = architecture.partition("/")
        shapes = points_shapes(architecture, task or "box2d")
    if classes == 20:
        shapes |= {"hm.2.weight": (classes, 64, 1, 1), "hm.2.bias": (classes,)}
        if architecture == "dla_34":
            shapes["hm.2.weight"] = (classes, 256, 1, 1)
    keys = matching_config(detect_source(on_meta(shapes)))
    file = tmp_path / "written.yaml"
    file.write_text(as_yaml(keys, "A comment."))
    written, shipped = load_config(str(file)), load_config(str(config_root / f"{name}.yaml"))
    for path in keys:
        if path.startswith("SOLVER."):  # a recipe is not in the weights
            continue
        values = []
        for node in (written, shipped):
            for part in path.split("."):
                node = node[part]
            values.append(node)
        assert values[0] == values[1], path
    shipped.MODEL.POINTS_CENTERNET.POSE.FLIP_INDICES = []  # of COCO, which weights do not say
    for section in ("RESNET_DECONV", "DLA", "HOURGLASS", "HEATMAP", "POINTS_CENTERNET"):
        assert written.MODEL[section] == shipped.MODEL[section], section
