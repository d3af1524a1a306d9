from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.engine import DefaultPredictor
from published_networks import points_shapes, recorded

from centernet_d2 import Predictor, add_centernet_config
from centernet_d2.engine.setup import load_config


@pytest.fixture
def published(tmp_path):
    file = tmp_path / "model_best.pth"
    torch.save({"epoch": 9, "state_dict": recorded(points_shapes("resdcn_18"))}, file)
    return file


def test_weights_and_config_work_in_both_predictors(load_tool, published, tmp_path, capsys):
    output = tmp_path / "out" / "resnet18.pth"
    tool = load_tool("convert_checkpoint")
    assert tool.main([str(published), str(output), "--arch", "resdcn_18"]) == 0
    assert sorted(os.listdir(output.parent)) == ["resnet18.pth", "resnet18.yaml"]
    report = capsys.readouterr().out
    assert "resdcn_18 of the points repository, box2d, 80 classes" in report
    assert len(report.splitlines()) < 8

    config = str(output.with_suffix(".yaml"))
    ours = Predictor(load_config(config, ["MODEL.DEVICE", "cpu"]))
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.merge_from_file(config)
    cfg.MODEL.DEVICE = "cpu"
    image = np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)
    found = ours(image)["instances"]
    expected = DefaultPredictor(cfg)(image)["instances"]
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert ours.class_names[0] == "person"


def test_dropped_parameters_are_in_the_report(load_tool, tmp_path, capsys):
    file = tmp_path / "dla.pth"
    torch.save(recorded(points_shapes("dla_34")), file)
    assert load_tool("convert_checkpoint").main([str(file), str(tmp_path / "new.pth")]) == 0
    report = capsys.readouterr().out
    assert "dropped: 2 (base.fc" in report
    assert "dropped: 12 (base.level3.project" in report


@pytest.mark.parametrize(("name", "size"), [("a_384.pth", 384), ("dla_512.pth", 512)])
def test_pascal_voc_weights(load_tool, tmp_path, capsys, name, size):
    shapes = points_shapes("resdcn_18")
    shapes |= {"hm.2.weight": (20, 64, 1, 1), "hm.2.bias": (20,)}
    torch.save({"state_dict": recorded(shapes)}, tmp_path / name)
    assert (
        load_tool("convert_checkpoint").main([str(tmp_path / name), str(tmp_path / "n.pth")]) == 0
    )
    assert f"taken for Pascal VOC at {size} x {size}" in capsys.readouterr().out
    cfg = load_config(str(tmp_path / "n.yaml"))
    assert list(cfg.TEST.FIXED_SIZE) == [size, size]
    assert cfg.MODEL.PIXEL_MEAN[0] == 123.675  # ImageNet's order, as published


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{file}", "{new}.pth", "--arch", "dla_34"], "it is resdcn_18 of the points repository"),
        (["{file}", "{new}.pkl"], "must end in .pth"),
        (["{page}", "{new}.pth"], "is a web page"),
        (["ctdet_coco_resdcn", "{new}.pth"], "Near: ctdet_coco_resdcn18"),
    ],
)
def test_failures_leave_nothing(load_tool, published, tmp_path, capsys, arguments, message):
    page = tmp_path / "page.pth"
    page.write_bytes(b"<html>")
    folder = tmp_path / "out"
    folder.mkdir()
    names = {"file": published, "page": page, "new": folder / "new"}
    command = [argument.format(**names) for argument in arguments]
    assert load_tool("convert_checkpoint").main(command) == 1
    assert message in capsys.readouterr().err
    assert os.listdir(folder) == []


def test_converted_file_is_not_converted_again(load_tool, published, tmp_path, capsys):
    tool, first = load_tool("convert_checkpoint"), str(tmp_path / "first.pth")
    assert tool.main([str(published), first]) == 0
    assert tool.main([first, str(tmp_path / "second.pth")]) == 1
    assert "is a detectron2 file already" in capsys.readouterr().err
