from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from published_networks import points_shapes, recorded

from centernet_d2 import Predictor, add_centernet_config, cli
from centernet_d2.checkpoint.files import read_tensors
from centernet_d2.checkpoint.model_info import ModelInfo, config_text, read_model_info
from centernet_d2.engine.checkpointer import Checkpointer
from centernet_d2.engine.contradictions import differing
from centernet_d2.engine.model_config import read_model_config
from centernet_d2.engine.saved_names import saved_names
from centernet_d2.engine.setup import load_config, setup


@pytest.fixture
def published(tmp_path):
    file = tmp_path / "model_best.pth"
    torch.save({"epoch": 9, "state_dict": recorded(points_shapes("resdcn_18"))}, file)
    return file


def test_weights_and_config_work_in_both_predictors(published, tmp_path, capsys):
    output = tmp_path / "out" / "resnet18.pth"
    assert cli.main(["convert", str(published), str(output), "--arch", "resdcn_18"]) == 0
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


def test_dropped_parameters_are_in_the_report(tmp_path, capsys):
    file = tmp_path / "dla.pth"
    torch.save(recorded(points_shapes("dla_34")), file)
    assert cli.main(["convert", str(file), str(tmp_path / "new.pth")]) == 0
    report = capsys.readouterr().out
    assert "dropped: 2 (base.fc" in report
    assert "dropped: 12 (base.level3.project" in report


@pytest.mark.parametrize(("name", "size"), [("a_384.pth", 384), ("dla_512.pth", 512)])
def test_pascal_voc_weights(tmp_path, capsys, name, size):
    shapes = points_shapes("resdcn_18")
    shapes |= {"hm.2.weight": (20, 64, 1, 1), "hm.2.bias": (20,)}
    torch.save({"state_dict": recorded(shapes)}, tmp_path / name)
    assert cli.main(["convert", str(tmp_path / name), str(tmp_path / "n.pth")]) == 0
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
        (["{file}", "{new}.pth", "--config-file", "a"], "published, and its config is known"),
        (["ctdet_coco_resdcn", "{new}.pth"], "nearest: ctdet_coco_resdcn18"),
    ],
)
def test_failures_leave_nothing(published, tmp_path, capsys, arguments, message):
    page = tmp_path / "page.pth"
    page.write_bytes(b"<html>")
    folder = tmp_path / "out"
    folder.mkdir()
    names = {"file": published, "page": page, "new": folder / "new"}
    command = [argument.format(**names) for argument in arguments]
    assert cli.main(["convert", *command]) == 1
    assert message in capsys.readouterr().err
    assert os.listdir(folder) == []


def test_a_converted_file_is_a_model(published, tmp_path):
    weights = tmp_path / "dla_512.pth"
    assert cli.main(["convert", str(published), str(weights)]) == 0
    info = read_model_info(weights)
    assert info.protocol == "no augmentation / keep_res"
    assert info.training == {
        "converted_from": "model_best.pth",
        "train": ["coco_2017_train"],
        "test": ["coco_2017_val"],
    }
    assert str(tmp_path) not in info.config
    own = Predictor(weights)
    beside = Predictor(load_config(str(weights.with_suffix(".yaml"))))
    shipped = load_config("COCO-Detection/points_resnet18_dcn_140e")
    shipped.MODEL.WEIGHTS = str(weights)
    image = np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)
    found = own(image)["instances"].pred_boxes.tensor
    for other in (beside, Predictor(shipped)):
        assert torch.equal(other(image)["instances"].pred_boxes.tensor, found)
        assert differing(other.cfg, saved_names(str(weights))) == {}
    assert read_model_config(weights=str(weights), evaluates=True).DATASETS.TEST == [
        "coco_2017_val"
    ]


@pytest.fixture
def own(tiny_yaml, tiny_overrides, tmp_path):
    """What a training of this package saves."""
    cfg = setup(load_config(tiny_yaml, tiny_overrides))
    model = build_model(cfg)
    shared = {"trainer": {"optimizer": {name: v.clone() for name, v in model.state_dict().items()}}}
    saver = Checkpointer(model, str(tmp_path), class_names=["square"])
    saver.model_info = lambda: ModelInfo("", "0.1.0", config_text(cfg), protocol="flip")
    saver.save("own", iteration=3, **shared)
    return tmp_path / "own.pth"


def test_own_files_change_their_form(own, tmp_path, capsys):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.pth"
    assert cli.main(["convert", str(own), str(first)]) == 0
    told = capsys.readouterr().out
    sizes = {file: f"{file}: {file.stat().st_size:,} bytes" for file in (own, first)}
    assert [line in told for line in sizes.values()] == [True, True]
    assert "left out, as only its training needs it: iteration, trainer" in told
    assert first.stat().st_size < 0.7 * own.stat().st_size
    assert cli.main(["convert", str(first), str(second)]) == 0
    infos = [read_model_info(file) for file in (first, second)]
    assert replace(infos[0], source=infos[1].source) == infos[1]
    assert infos[1].class_names == ("square",)
    assert infos[1].protocol == "flip"
    states = [read_tensors(own)["model"], read_tensors(first)["state_dict"]]
    states.append(read_tensors(second)["model"])
    assert all(set(state) == set(states[0]) for state in states)
    assert all(torch.equal(state[n], states[0][n]) for state in states for n in states[0])
    assert Predictor(first).class_names == ["square"]


def test_half_precision_is_half_the_file(own, published, tmp_path, capsys):
    files = [tmp_path / f"{name}.safetensors" for name in ("whole", "half", "published")]
    for source, file, options in zip(
        (own, own, published), files, ([], ["--half"], ["--half"]), strict=True
    ):
        assert cli.main(["convert", str(source), str(file), *options]) == 0
    whole, half, _ = states = [read_tensors(file)["state_dict"] for file in files]
    for name, tensor in whole.items():  # counts of batches stay whole numbers
        assert torch.equal(half[name], tensor.half() if tensor.is_floating_point() else tensor)
    assert {t.dtype for t in states[2].values()} == {torch.float16, torch.int64}
    saved = files[0].stat().st_size - files[1].stat().st_size
    assert saved > 1.9 * sum(t.numel() for t in half.values() if t.is_floating_point())
    loaded = Predictor(files[1]).model.cpu().state_dict()
    assert {t.dtype for t in loaded.values()} == {torch.float32, torch.int64}
    assert all(torch.equal(loaded[name], half[name].to(loaded[name].dtype)) for name in half)

    content = read_tensors(own)
    content["model"][next(iter(whole))].view(-1)[0] = 1e5
    torch.save(content, own)
    assert cli.main(["convert", str(own), str(tmp_path / "x.pth"), "--half"]) == 1
    assert "has numbers too large for 16 bits: leave out --half" in capsys.readouterr().err


def test_names_of_own_files_are_not_given_anew(own, tmp_path, capsys):
    assert cli.main(["convert", str(own), str(tmp_path / "new.pth"), "--classes", "a"]) == 1
    assert "own.pth' is a file of this package: leave out --arch, --clas" in capsys.readouterr().err
    assert not (tmp_path / "new.pth").exists()


def test_a_file_without_its_config_gets_it(own, tiny_yaml, tiny_overrides, tmp_path, capsys):
    content = torch.load(own, weights_only=True)
    del content["centernet_d2"]
    old, new = tmp_path / "old.pth", tmp_path / "new.safetensors"
    torch.save(content, old)
    assert cli.main(["convert", str(old), str(tmp_path / "again.pth")]) == 0
    assert "it carries no config, as it was saved before" in capsys.readouterr().out
    given = ["--config-file", str(tmp_path / "config.yaml")]
    trained = setup(load_config(tiny_yaml, tiny_overrides))
    (tmp_path / "config.yaml").write_text(trained.dump())  # as beside a training
    assert cli.main(["convert", str(old), str(new), *given]) == 0
    info = read_model_info(new)
    assert info.config_values() == read_model_info(own).config_values()
    assert info.protocol == "no augmentation / keep_res / fit canvas"
    assert Predictor(new).class_names == ["square"]
    assert cli.main(["convert", str(new), str(tmp_path / "b.pth"), *given]) == 1
    assert "new.safetensors' carries its config: leave out" in capsys.readouterr().err


OWN = [f"part{index}" for index in range(20)]
JOINTS = ["snout", "left_ear", "right_ear", *(f"spine{index}" for index in range(14))]


def test_names_are_given_or_marked_as_a_guess(tmp_path, capsys):
    """20 classes, none of Pascal VOC's: its names, its pixels and its size are not taken."""
    shapes = points_shapes("resdcn_18")
    shapes |= {"hm.2.weight": (20, 64, 1, 1), "hm.2.bias": (20,)}
    file, new = str(tmp_path / "mine.pth"), str(tmp_path / "new.pth")
    torch.save({"state_dict": recorded(shapes)}, file)
    assert cli.main(["convert", file, new]) == 0
    assert "class_names are a guess from their number: give them by --classes" in (
        capsys.readouterr().out
    )
    assert read_tensors(new)["guessed"] == ["class_names"]
    assert "Guessed from their number: class_names" in (tmp_path / "new.yaml").read_text()

    (tmp_path / "names.txt").write_text("\n".join(OWN), encoding="utf-16")
    (tmp_path / "names.json").write_text(json.dumps(OWN))
    for given in (",".join(OWN), str(tmp_path / "names.txt"), str(tmp_path / "names.json")):
        assert cli.main(["convert", file, new, "--overwrite", "--classes", given]) == 0
        content = read_tensors(new)
        assert (content["class_names"], content["guessed"]) == (OWN, [])
        cfg = load_config(str(tmp_path / "new.yaml"))
        assert cfg.TEST.RESOLUTION == "keep_res"
        assert cfg.MODEL.PIXEL_MEAN[0] == pytest.approx(104.01362)
        assert "taken for Pascal VOC" not in capsys.readouterr().out
    assert cli.main(["convert", file, new, "--overwrite", "--classes", "a,b"]) == 1
    assert "--classes 'a,b' gives 2 names" in capsys.readouterr().err
    for output, more, told in (
        (new, [], "is there already: name another file, or give --overwrite."),
        (file, ["--overwrite"], "is the input itself: name another file."),
    ):
        before = Path(output).read_bytes()
        assert cli.main(["convert", file, output, *more]) == 1
        assert capsys.readouterr().err.strip().endswith(f"'{output}' {told}")
        assert Path(output).read_bytes() == before


def test_joints_are_given(tmp_path):
    file, new = str(tmp_path / "pose.pth"), str(tmp_path / "new.pth")
    torch.save(recorded(points_shapes("dla_34", "pose")), file)
    names = ["--classes", "dog", "--joints", ",".join(JOINTS)]
    assert cli.main(["convert", file, new, *names]) == 0
    content = read_tensors(new)
    assert (content["joint_names"], content["guessed"]) == (JOINTS, [])
    assert content["joint_flip_map"] == [["left_ear", "right_ear"]]
    cfg = load_config(str(tmp_path / "new.yaml"))
    assert [0, 2, 1, *range(3, 17)] == cfg.MODEL.POINTS_CENTERNET.POSE.FLIP_INDICES
    assert cfg.DATASETS.TEST != ("keypoints_coco_2017_val",)
