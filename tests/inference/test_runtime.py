"""What runs a detector in place of its model finds the same; what "auto" may choose."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from export.small import config, detector, pictures

from centernet_d2 import Predictor
from centernet_d2.export.formats import Format, of_tensors
from centernet_d2.export.graph import DetectorGraph
from centernet_d2.export.parity import Differences
from centernet_d2.export.write import arrays_of
from centernet_d2.inference import runtime
from centernet_d2.inference.fastest import Fastest
from centernet_d2.inference.runtime import FileDetector, Runtimes, entry_of


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CENTERNET_D2_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def told(monkeypatch):
    lines = []
    monkeypatch.setattr(runtime.logger, "warning", lambda line, *more: lines.append(line % more))
    return lines


def graph_of(model):
    graph = DetectorGraph(model, unrolled=True)
    return of_tensors(graph, {"inputs": graph.inputs, "outputs": graph.outputs})


def runtimes(name: str = "hard") -> Runtimes:
    return Runtimes(detector(name), {"class_names": ["a"]}, config(name))


@pytest.mark.parametrize("name", ["hard", "pose", "boxes in space", "triplet"])
def test_instances_are_those_of_the_detector(name):
    model, images = detector(name), pictures(3)
    found = FileDetector(model, graph_of(model))
    entries = [entry_of(image) for image in (*images, images[0][:20, :40])]  # the last: too small
    camera = torch.tensor([[200.0, 0, 75, 9], [0, 210, 50, 1], [0, 0, 1, 0.1]])
    entries[1]["projection"] = camera
    with torch.no_grad():
        expected = [model([entry])[0] for entry in entries]
        for one, other in zip(expected, found(entries), strict=True):
            fields, others = one.pop("instances"), other.pop("instances")
            assert fields.image_size == others.image_size
            assert sorted(fields.get_fields()) == sorted(others.get_fields())
            for key, value in fields.get_fields().items():
                assert type(value) is type(others.get(key))
                values = [getattr(each, "tensor", each) for each in (value, others.get(key))]
                torch.testing.assert_close(*values, rtol=1e-5, atol=1e-4)
            assert one.keys() == other.keys()
            assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert ("projection" in expected[0]) == (name == "boxes in space")


def test_the_limit_of_pixels_holds():
    model = detector("hard")
    object.__setattr__(model.protocol, "max_pixels", 9999)
    with pytest.raises(ValueError, match=r"more than TEST.MAX_PIXELS = 9999"):
        FileDetector(model, graph_of(model))([entry_of(pictures()[0])])


@pytest.mark.data
@pytest.mark.parametrize("name", ["onnxruntime", pytest.param("openvino", marks=pytest.mark.slow)])
def test_a_predictor_by_a_file_finds_what_the_predictor_finds(name, test_data, cache, told):
    for package in ("onnxscript", name):
        pytest.importorskip(package)
    files = sorted((test_data / "bccd" / "JPEGImages").iterdir())[3:6]
    images = [cv2.imread(str(file)) for file in files]
    images.append(images[0][40:300, 20:420])
    expected = Predictor("bccd")
    found = Predictor("bccd", runtime=name)
    assert [line.partition(" once: ")[0] for line in told] == [
        f"making the file of runtime '{name}',"
    ]
    report = Differences()
    for one, other in zip(expected.batch(images), found.batch(images), strict=True):
        report.add(*(arrays_of(each["instances"]) for each in (one, other)), "picture")
    assert report.fault() == ""
    assert report.detections == 400
    assert torch.equal(*(p.heatmap(images[0]).probabilities["center"] for p in (expected, found)))
    with pytest.raises(TypeError, match=r"cv2.imread returns None"):
        found(None)
    Predictor("bccd", runtime=name)
    assert len(told) == 1


def broken(shift: float | np.ndarray):
    """A format whose files are empty, and find boxes elsewhere."""

    def opened(_):
        run = graph_of(detector("hard"))
        return (lambda inputs: (f := run(inputs)) | {"pred_boxes": f["pred_boxes"] + shift}), {}

    return Format(".onnx", lambda *given: given[1].touch(), opened)


def test_a_file_that_finds_something_else_is_refused_and_an_old_one_made_anew(cache, monkeypatch):
    made = []
    monkeypatch.setattr(runtime, "chosen_format", lambda *given: made.append("asked"))
    monkeypatch.setattr(
        runtime, "write_graph", lambda *given, **more: made.append(given[3].touch())
    )
    monkeypatch.setattr(runtime, "formats", lambda: {"onnx": broken(0.25)})
    known = runtimes()
    told = r"runtime .onnxruntime. does not .* same: pred_boxes differs by 0.25 .*--runtimes"
    with pytest.raises(ValueError, match=told):
        known.detector("onnxruntime")
    with pytest.raises(ValueError, match=f"{told} --weights .*--images"):
        known.detector("onnxruntime")  # as it was refused: it is not made again
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["onnx-fp32.refused"]
    assert made == ["asked", None, "asked"]
    monkeypatch.setattr(runtime, "formats", lambda: {"onnx": broken(0)})
    known.pictures, made[:] = [("a.png", pictures()[0])], made[:2]  # other pictures: another try
    known.detector("onnxruntime")
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["model.onnx"]
    known.pictures = []
    known.detector("onnxruntime")
    assert made == ["asked", None, "asked", None, "asked"]
    faint = np.zeros((40, 1))
    faint[0] = 300  # of each picture the first box, with a score of 0.11, elsewhere
    monkeypatch.setattr(runtime, "formats", lambda: {"onnx": broken(faint)})
    known.detector("onnxruntime")
    assert made[5:] == ["asked"]
    monkeypatch.setattr(runtime, "formats", lambda: {"onnx": broken(2)})
    with pytest.raises(ValueError, match=r"finds"):
        known.detector("onnxruntime")
    kept = sorted(path.name for path in cache.rglob("*") if path.is_file())
    assert kept == ["model.onnx", "onnx-fp32.refused"]


def test_threads_make_files_one_at_a_time(cache, monkeypatch):
    inside, most = [], []

    def of_file(self, name, *_):
        inside.append(name)
        most.append(len(inside))
        time.sleep(0.02)
        inside.remove(name)
        return name

    monkeypatch.setattr(Runtimes, "_of_file", of_file)
    names = ["onnxruntime", "openvino", "aotinductor"]
    with ThreadPoolExecutor(3) as pool:
        assert [*pool.map(runtimes().detector, names)] == names
    assert most == [1, 1, 1]


def test_auto_takes_what_was_measured_for_as_many_pictures(cache, monkeypatch):
    known = runtimes()
    known.remember({4: "eager", 8: "openvino-int8"})
    known.remember({1: "eager", 4: "folded"})  # beside what is there
    again = runtimes()
    assert again.fastest() == {1: "eager", 4: "folded"}  # never 8 bits
    asked = []
    monkeypatch.setattr(
        again, "detector", lambda name: lambda entries: asked.append((name, len(entries)))
    )
    auto = Fastest(again, "auto")
    for count in (1, 3, 4, 9):
        auto([{}] * count)
    assert asked == [("eager", 1), ("eager", 3), ("folded", 4), ("folded", 9)]
    other = detector("hard")
    with torch.no_grad():
        next(other.parameters()).add_(1e-6)
    assert Runtimes(other, {}, config("hard")).fastest() == {}
    known._record.write_text(json.dumps(["damaged"]))
    assert again.fastest() == {}


def test_what_is_no_runtime_or_not_of_the_device(cache):
    known = runtimes()
    with pytest.raises(ValueError, match=r"'onnxruntime', .*'openvino', .*got 'tensorflow'"):
        known.detector("tensorflow")
    with pytest.raises(ValueError, match=r"'cuda-graph' records what a CUDA GPU does: set MODEL"):
        known.detector("cuda-graph")
    pytest.importorskip("nncf")
    with pytest.raises(
        ValueError, match=r"there are 0: name .* of benchmark --runtimes, which keeps"
    ):
        known.detector("openvino-int8")
    known.model.to("meta")
    with pytest.raises(ValueError, match=r"computes on the CPU: set MODEL.DEVICE to cpu"):
        known.detector("openvino")


def test_generated_pictures_have_the_sizes_asked_for():
    found = runtime.generated_pictures([(30, 50), (300, 20)])
    assert [image.shape for _, image in found] == [(30, 50, 3), (300, 20, 3)]
    assert all(image.dtype == np.uint8 and image.std() > 1 for _, image in found)
