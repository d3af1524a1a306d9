"""Files of lower precision: what stays in floating point, and how they are judged."""

from __future__ import annotations

from contextlib import suppress

import cv2
import numpy as np
import pytest
from detectron2.config import CfgNode

from centernet_d2 import Predictor, cli
from centernet_d2.cli import export as verb
from centernet_d2.export import precision
from centernet_d2.export.agreement import Agreement, counterparts
from centernet_d2.export.precision import Feed, check_precision, inner_nodes
from centernet_d2.layers.blocks import PredictionBranch
from centernet_d2.runtime import Detector
from export.small import saved

PARAMETERS = 684_823  # of the model in the package, see its card


def test_convolutions_before_others_are_inner_and_deformable_ones_are_not():
    nodes = {
        "place": ("Mul", []),
        "first": ("Conv", ["place", "weight"]),
        "relu": ("Relu", ["first"]),
        "offset": ("Conv", ["relu"]),
        "mask": ("Conv", ["relu"]),
        "sigmoid": ("Sigmoid", ["mask"]),
        "deform": ("DeformConv", ["relu", "weight", "offset", "", "sigmoid"]),
        "side": ("Conv", ["relu"]),
        "add": ("Add", ["deform", "side"]),
        "pool": ("Max", ["add"]),
        "branch": ("Conv", ["pool"]),
        "heatmap": ("Conv", ["branch"]),
        "size": ("Conv", ["add"]),
        "peaks": ("MaxPool", ["heatmap"]),
    }
    assert inner_nodes(nodes) == {"first", "relu", "side", "add", "branch"}


def export_bccd(tmp_path, test_data, name, *more):
    folder = test_data / "bccd" / "JPEGImages"
    given = ["--weights", "bccd", "--output", str(tmp_path / name), "--images", str(folder)]
    given += ["--most", "2", *more]
    return cli.main(["export", *given]), tmp_path / name


def float_weights(path) -> list[np.ndarray]:
    """Weights of the convolutions that are computed in floating point."""
    if path.suffix == ".onnx":
        import onnx

        graph = onnx.load(path).graph
        values = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
        used = (node.input[1] for node in graph.node if node.op_type == "Conv")
        return [values[name] for name in used if name in values]
    import openvino

    operations = openvino.Core().read_model(path).get_ops()
    found = (o.input_value(1).get_node() for o in operations if o.get_type_name() == "Convolution")
    return [weight.data for weight in found if weight.get_type_name() == "Constant"]


@pytest.mark.data
@pytest.mark.parametrize(
    ("form", "name", "package"),
    [
        ("onnx", "bccd.onnx", "onnxscript"),
        pytest.param("openvino", "bccd.xml", "nncf", marks=pytest.mark.slow),
    ],
)
def test_int8_finds_the_cells_and_keeps_the_last_convolutions(
    test_data, tmp_path, form, name, package, capsys
):
    pytest.importorskip(package)
    more = ["--format", form, "--precision", "int8", "--calibrate-most", "12"]
    status, path = export_bccd(tmp_path, test_data, name, *more)
    assert status == 0
    told = capsys.readouterr().out
    assert "int8 is calibrated on 12 pictures of --images" in told
    assert "AP was not compared: name a dataset by --check-on" in told
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert size < 0.4 * 4 * PARAMETERS
    predictor, detector = Predictor("bccd"), Detector(path, threads=1)
    branches = [m for m in predictor.model.head.modules() if isinstance(m, PredictionBranch)]
    last = [branch.last_layer.weight.detach().numpy() for branch in branches]
    for weight, expected in zip(
        sorted(float_weights(path), key=np.sum), sorted(last, key=np.sum), strict=True
    ):
        np.testing.assert_allclose(weight, expected, atol=1e-6)
    assert detector.metadata["precision"] == "int8"
    for file in sorted((test_data / "bccd" / "JPEGImages").iterdir())[50:52]:
        picture = cv2.imread(str(file))
        found, expected = detector(picture).above(0.4), predictor(picture)["instances"]
        expected = expected[expected.scores > 0.4]
        assert abs(len(found) - len(expected)) <= 1
        assert len(expected) > 5


@pytest.mark.data
def test_a_file_that_loses_more_ap_is_removed(test_data, tmp_path, capsys, monkeypatch):
    names = tmp_path / "two.txt"
    names.write_text("BloodImage_00000\nBloodImage_00001\n")
    bccd = test_data / "bccd"
    spec = f"voc:{bccd / 'Annotations'}:{bccd / 'JPEGImages'}:{names}"
    blind = Predictor("bccd", ["MODEL.HEATMAP.SCORE_THRESHOLD", 0.99]).model
    blind.by_file = blind.forward
    monkeypatch.setattr(verb, "FileDetector", lambda model, run: blind)
    more = ["--format", "torch", "--precision", "bf16", "--check-on", spec, "--max-loss", "2"]
    status, path = export_bccd(tmp_path, test_data, "bccd.pt2", *more)
    assert status == 1
    assert not path.exists()
    assert ", the file 0.00 (allowed loss: 2, --max-loss)" in capsys.readouterr().err


def test_ap_is_judged_where_there_is_one(monkeypatch):
    results = {"bbox": {"mAP07": 80.0, "AP": 50.0}, "box3d": {"BEV": 3.0, "3D": 2.0}, "none": {}}
    monkeypatch.setattr(verb, "build_evaluator", lambda *given, **more: None)
    monkeypatch.setattr(verb, "told_by_model", lambda model: {})
    monkeypatch.setattr(verb.Trainer, "test", lambda *given: results)
    cfg = CfgNode({"DATASETS": {"TEST": ["any"]}})
    assert verb.headline_scores(cfg, None, None) == {"bbox/AP": 50.0, "box3d/BEV": 3.0}


def test_the_worst_loss_counts():
    assert verb.loss({"bbox/AP": 50.0}, {"bbox/AP": 49.5}, 1) == (
        "",
        ["bbox/AP: PyTorch 50.00, the file 49.50"],
    )
    assert (
        "keypoints/AP: PyTorch 9.00, the file nan"
        in verb.loss(
            {"bbox/AP": 50.0, "keypoints/AP": 9.0}, {"bbox/AP": 60.0, "keypoints/AP": np.nan}, 1
        )[0]
    )
    assert "PyTorch nan" in verb.loss({"bbox/AP": np.nan}, {"bbox/AP": np.nan}, 1)[0]


@pytest.mark.parametrize(
    ("form", "kind", "told"),
    [
        ("torch", "int8", "which takes fp32, bf16: take --format onnx or openvino for it"),
        ("onnx", "bf16", "take --format openvino or torch or aotinductor for it"),
        ("aotinductor", "fp16", "take --format onnx or openvino"),
    ],
)
def test_what_a_format_cannot_do_is_said(form, kind, told):
    with pytest.raises(ValueError, match=told):
        check_precision(form, kind)


def test_a_missing_nncf_is_named(monkeypatch):
    monkeypatch.setattr(precision, "is_missing", lambda name: True)
    with pytest.raises(ImportError, match=r"pip install 'centernet-d2\[int8\]'; that of onnx"):
        check_precision("openvino", "int8")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--precision", "int8"], "there are 0: name a folder by --calibrate"),
        (["--precision", "int8", "--calibrate", "photo.png"], "there are 1: name a folder"),
        (["--calibrate", "photo.png"], "--calibrate is for --precision int8"),
        (["--max-loss", "1"], "--max-loss is of the AP on --check-on"),
        (["--precision", "int8", "--calibrate-most", "7"], "a whole number, 8 or more"),
        (["--split", "--precision", "fp16"], "--split is of --precision fp32 alone"),
        (["--split", "--check-on", "coco:a:b"], "--check-on is without --split"),
    ],
)
def test_arguments_that_do_not_fit_write_nothing(tmp_path, monkeypatch, arguments, told, capsys):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("photo.png", np.zeros((100, 150, 3), np.uint8))
    weights = saved("hard", tmp_path / "model.pth")
    with suppress(SystemExit):  # which is wrong usage
        assert cli.main(["export", "--output", "out/model.onnx", *arguments, *weights]) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_feed_starts_anew_each_time():
    feed = Feed(range(8), lambda number: {"pictures": np.full(1, number)})
    for _ in range(2):
        assert [int(each["pictures"][0]) for each in feed] == [*range(8)]


def rows(*, scores=(0.9, 0.5, 0.2), shift=0.0):
    boxes = np.array([[0, 0, 10, 10], [50, 0, 90, 40], [7, 70, 17, 90]], np.float32)
    classes = np.array([0, 1, 1])
    return {"scores": np.float32(scores), "pred_classes": classes, "pred_boxes": boxes + shift}


def test_counterparts_overlap_have_one_class_and_near_scores():
    first, second = counterparts(rows(), rows(scores=(0.85, 0.3, 0.2), shift=1.0))
    # 9 * 9 / (200 - 81) of the first overlaps, the second has lost 0.2, of the third 9 * 19 / 229.
    assert first.tolist() == second.tolist() == []
    first, second = counterparts(rows(), rows(scores=(0.85, 0.3, 0.2), shift=0.5))
    assert first.tolist() == second.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (rows(scores=(0.85, 0.45, 0.1)), ""),
        (rows(scores=(0.75, 0.45, 0.1)), "50.0% of 4 above 0.3 of both have a counterpart"),
        (rows(shift=20.0), "0.0% of 4 above 0.3"),
    ],
)
def test_sure_detections_need_counterparts(found, told):
    report = Agreement()
    report.add(rows(), found, "photo.png")
    assert report.fault()[: len(told)] == told
    assert bool(report.fault()) == bool(told)
    if not told:
        assert report.worst["scores"] == pytest.approx(0.05, abs=1e-6)


def test_nothing_sure_proves_nothing():
    assert Agreement().fault().startswith("neither side finds anything above 0.3 in these")
