"""Files of each format: what they hold, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from centernet_d2.export import formats
from centernet_d2.export.formats import chosen_format, exported
from centernet_d2.export.graph import DetectorGraph, Sizes
from centernet_d2.export.network import Network
from centernet_d2.export.parity import Differences
from centernet_d2.export.write import arrays_of, rows_found

from .small import BACKBONES, SAYS, detect, detector, pictures

ENDINGS = {"torch": "pt2", "onnx": "onnx", "openvino": "xml"}


def file_of(name: str, kind: str, tmp_path: Path, sizes: Sizes):
    """A detector in a file, opened: what runs it, what it says of itself, and the detector."""
    path = tmp_path / f"model.{ENDINGS[kind]}"
    if kind != "torch":
        for package in formats.formats()[kind].packages:
            pytest.importorskip(package)
    form, model = chosen_format(kind, path), detector(name).requires_grad_(False)
    graph = DetectorGraph(model, unrolled=not form.loops)
    told = {**SAYS, "inputs": graph.inputs, "outputs": graph.outputs, "class_names": ["a", "b"]}
    form.write(exported(graph, *graph.examples(sizes)), path, told)
    run, metadata = form.open(path)
    assert metadata == told
    return run, model


CASES = [("onnx", "linear")]
SLOW = [
    *(("torch", "boxes"), ("onnx", "boxes"), ("openvino", "boxes"), ("openvino", "hard")),
    *(("onnx", "hard"), ("onnx", "pose"), ("onnx", "triplet"), ("onnx", "scaled boxes")),
    *(("onnx", "scaled corners"), ("openvino", "scaled on a frame")),
    *(("onnx", name) for name in BACKBONES),
]


@pytest.mark.parametrize(
    ("kind", "name"), [*CASES, *(pytest.param(*c, marks=pytest.mark.slow) for c in SLOW)]
)
def test_a_file_takes_pictures_of_any_number_and_size(kind, name, tmp_path):
    run, model = file_of(name, kind, tmp_path, Sizes())
    report = Differences()
    sizes = [(1, 100, 150), (3, 64, 130)]
    if name in BACKBONES:  # no black border, where random weights have many equal scores
        sizes = [(1, 128, 160), (2, 64, 96)]
    for images in (pictures(*size) for size in sizes):
        outputs = run({"pictures": images})
        for row, instances in enumerate(detect(model, images)):
            report.add(arrays_of(instances), rows_found(outputs, row), str(images.shape))
    assert report.fault() == ""
    assert report.detections > 20


def test_a_file_of_one_size_takes_no_other(tmp_path):
    run, _ = file_of("hard", "torch", tmp_path, Sizes(1, 64, 96))
    assert run({"pictures": pictures(1, 64, 96)})["scores"].shape == (1, 40)
    with pytest.raises((RuntimeError, AssertionError), match="96"):
        run({"pictures": pictures(1, 64, 128)})


@pytest.mark.parametrize("name", ["boxes", pytest.param("corners", marks=pytest.mark.slow)])
def test_the_network_alone_gives_raw_maps(name):
    model = detector(name)
    network = Network(model)
    side = 191 if name == "corners" else 192
    images = torch.rand(1, 3, side, side)
    with torch.no_grad():
        maps = network.maps(images)
    wanted = {"boxes": ["heatmap", "offset", "size"]}
    parts = ("heatmap", "offset", "embedding")
    wanted["corners"] = [f"{c}.{p}" for c in ("top_left", "bottom_right") for p in parts]
    assert network.outputs == [*maps] == wanted[name]
    assert all(each.shape[-2:] == (48, 48) for each in maps.values())
    arguments, axes = network.examples(Sizes())
    program = exported(network.requires_grad_(False), arguments, axes)
    again = program.module()(images)
    for one, other in zip(again, maps.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "file", "told"),
    [
        ("onnx", "model.pt", "must end in .onnx"),
        ("tensorrt", "model.engine", "trtexec --onnx"),
        ("coreml", "model.x", "give one of onnx, openvino"),
    ],
)
def test_a_format_that_does_not_go_with_the_file_is_refused(kind, file, told):
    with pytest.raises(ValueError, match=told):
        chosen_format(kind, Path(file))


def test_a_package_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(formats, "is_missing", lambda package: package != "onnx")
    with pytest.raises(
        ImportError, match=r"needs onnxscript and onnxruntime: pip install 'centernet-d2\[export\]'"
    ):
        chosen_format("onnx", Path("model.onnx"))


def test_a_file_without_metadata_is_no_file_of_the_command(tmp_path):
    program = torch.export.export(torch.nn.ReLU(), (torch.zeros(3),))
    torch.export.save(program, tmp_path / "other.pt2", extra_files={"notes": json.dumps([1])})
    with pytest.raises(ValueError, match="no file of centernet-d2 export"):
        chosen_format("torch", Path("a.pt2")).open(tmp_path / "other.pt2")
