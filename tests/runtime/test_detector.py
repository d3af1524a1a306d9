"""The runtime on files made by hand, whose answer is known, and on files of the exporter."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from centernet_d2 import __version__, runtime
from centernet_d2.modeling.cameras import Cameras
from centernet_d2.runtime import Detector, engines
from centernet_d2.runtime.__main__ import is_cut, main

from .by_hand import SAYS, write_onnx

ROOT = Path(__file__).resolve().parents[2]
ROOM = Path(runtime.__file__).parent
CAMERA = {"inputs": ["pictures", "projection"], "default_projection": np.eye(3, 4).tolist()}


@pytest.fixture
def file(tmp_path):
    """`write_onnx` to a name in a folder of its own."""
    pytest.importorskip("onnxruntime")

    def make(says=None, *, name="model.onnx", **changes):
        return write_onnx(tmp_path / name, says, **changes)

    return make


def grey(value: int, height: int = 20, width: int = 30) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_detections_are_the_rows_that_count(file):
    found = Detector(file())(grey(10))
    assert found.boxes.tolist() == [[0, 0, 10, 20], [10, 10, 30, 30]]
    assert found.scores.tolist() == [0.75, 0.5]
    assert (found.labels(), found.class_names) == (["dog", "cat"], ("cat", "dog"))
    assert (len(found), found.keypoints, found.boxes3d) == (2, None, None)
    assert replace(found, class_names=("cat",)).labels() == ["1", "cat"]
    above = found.above(0.5)
    assert (above.labels(), above.boxes.tolist(), above.keypoints) == (
        ["dog"],
        [[0, 0, 10, 20]],
        None,
    )


@pytest.mark.parametrize("batch", [None, 1, 2, 4])
def test_pictures_of_all_sizes_keep_their_order(file, batch):
    detector, calls = Detector(file(frame=SAYS["frame"] | {"batch": batch})), []
    run = detector._run
    detector._run = lambda inputs: calls.append(inputs["pictures"].shape) or run(inputs)
    values = [3, 5, 7, 9, 11]
    pictures = [grey(value, 20 if value < 9 else 8) for value in values]
    assert [found.boxes[0, 2] for found in detector.batch(pictures)] == values
    assert {shape[0] for shape in calls} <= {batch or 3, batch or 2}
    assert len(calls) == {None: 2, 1: 5, 2: 3, 4: 2}[batch]
    assert detector.batch([]) == []


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (None, "cv2.imread returns None for a file that it cannot read"),
        ("a.jpg", r"must be a numpy array \(H, W, 3\), not str: for files use .*cv2\.imread"),
        (grey(9).astype("float32"), r"has dtype float32; it must be uint8 .*\.astype\('uint8'\)"),
        (grey(1)[:, :, 0], r"shape \(20, 30\); .* grayscale use cv2\.cvtColor"),
        (grey(1)[None], "for several images `batch`"),
        (grey(1).transpose(2, 0, 1), r"for channels first image\.transpose\(1, 2, 0\)"),
        (grey(1, 0), r"shape \(0, 30, 3\): it is empty"),
        (grey(1, 1, 9000), "a picture of 9000 x 1 pixels"),
    ],
)
def test_pictures_that_are_none(file, picture, told):
    with pytest.raises((TypeError, ValueError), match=told):
        Detector(file())(picture)


def test_another_size_than_the_file_s(file):
    fixed = Detector(file(frame={"batch": 1, "height": 20, "width": 32}))
    with pytest.raises(ValueError, match="the width of a picture is 30, and this file takes 32"):
        fixed(grey(1))
    assert len(fixed(grey(1, 20, 32))) == 2


def test_cameras(file):
    with pytest.raises(ValueError, match="finds no boxes in space: it takes no projection"):
        Detector(file())(grey(1), np.eye(3, 4))
    detector = Detector(file(**CAMERA))
    given = []
    detector._run = lambda inputs: (
        given.append(inputs["projection"])
        or {
            **{"scores": np.zeros((2, 0)), "pred_classes": np.zeros((2, 0), int)},
            **{"pred_boxes3d": np.zeros((2, 0, 8)), "count": np.zeros(2, int)},
        }
    )
    other = np.arange(12).reshape(3, 4)
    assert detector.batch([grey(1)] * 2, [None, other])[0].boxes3d.shape == (0, 8)
    assert given[0].tolist() == [np.eye(3, 4).tolist(), other.tolist()]
    assert given[0].dtype == np.float32
    del given[:]
    own = np.array([[700.0, 1, 15, 2], [0, 710, 20, 3], [0, 0, 1, 0]], "float32")
    detector.metadata |= {"default_projection": own.tolist(), "default_size": [40, 60]}
    detector(grey(1, 28, 30))
    sized = {"image": torch.zeros(3, 28, 30)}
    np.testing.assert_allclose(given[0], Cameras(own, (40, 60)).of([sized]), rtol=1e-6)
    for wrong in (np.eye(3), [[np.nan] * 4] * 3, [[1], [1, 2]], "no"):
        with pytest.raises(ValueError, match="a projection is 3 x 4 finite numbers"):
            detector(grey(1), wrong)
    with pytest.raises(ValueError, match="2 pictures have 1 projections"):
        detector.batch([grey(1)] * 2, [None])


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("", "does not say what it detects: make it anew by `centernet-d2 export`"),
        ("{", "does not say what it detects"),
        ("[]", "does not say what it detects"),
        *(
            (
                json.dumps({k: v for k, v in SAYS.items() if k != lost}),
                "does not say what it detects",
            )
            for lost in ("form", "whole", "frame", "inputs", "outputs")
        ),
        (json.dumps(SAYS | {"frame": {"batch": 1}}), "does not say what it detects"),
        (
            json.dumps(SAYS | {"outputs": ["maps"]}),
            "outputs are maps, and they are scores, pred_cl",
        ),
        (json.dumps(SAYS | {"form": 2}), "centernet_d2 9, which is newer than this program"),
        (json.dumps(SAYS | {"whole": False}), "holds the network alone"),
    ],
)
def test_files_that_are_no_detectors(file, says, told):
    with pytest.raises(ValueError, match=told):
        Detector(file(says))


def test_files_that_cannot_be_read(file, tmp_path):
    whole = file()
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(whole.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"onnxruntime .* cannot read '.*cut\.onnx'"):
        Detector(cut)
    with pytest.raises(
        ValueError, match=r"': ONNX Runtime only .*another opset needs a newer onnx"
    ):
        Detector(file(name="new.onnx", opset=99))
    for threads in (-1, "2"):
        with pytest.raises(ValueError, match=f"threads is {threads!r}: give a whole number"):
            Detector(whole, threads=threads)
    with pytest.raises(FileNotFoundError, match=r"there is no file '.*none.onnx'"):
        Detector(tmp_path / "none.onnx")
    with pytest.raises(ValueError, match=r"ends neither in \.onnx nor in \.xml"):
        Detector(tmp_path / "model.pth")
    (tmp_path / "model.xml").write_text("<net/>")
    with pytest.raises(FileNotFoundError, match=r"its weights beside it: '.*model.bin' is missing"):
        Detector(tmp_path / "model.xml")


def test_weights_of_another_export_are_noticed(file, tmp_path):
    openvino = pytest.importorskip("openvino")
    model, path = openvino.convert_model(file()), tmp_path / "ov.xml"
    model.set_rt_info(json.dumps(SAYS | {engines.WEIGHTS: engines.UNKNOWN}), engines.BLOCK)
    openvino.save_model(model, path)
    weights = path.with_suffix(".bin")
    says = path.read_text().replace(engines.UNKNOWN, engines.digest_of(weights))
    path.write_text(says)
    assert Detector(path)(grey(10)).scores.tolist() == [0.75, 0.5]
    weights.write_bytes(weights.read_bytes() + b"0")
    with pytest.raises(ValueError, match=r"ov\.bin' is not what .*copy both files of one export"):
        Detector(path)


def test_a_runtime_that_is_not_installed(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="not installed: pip install onnxruntime"):
        Detector(file())


def test_the_room_stands_alone():
    """Neither torch nor another room, so that it can be installed by itself."""
    known = {"numpy", "cv2", "onnxruntime", "openvino"} | sys.stdlib_module_names
    server = {"fastapi", "pydantic", "starlette", "uvicorn", "prometheus_client", "PIL"}
    for path in ROOM.rglob("*.py"):
        depth = len(path.relative_to(ROOM).parts)
        known |= server | {"python_multipart"} if depth > 1 else set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= known, path
            elif isinstance(node, ast.ImportFrom):
                assert 0 < node.level <= depth or (node.module or "").split(".")[0] in known, path
    project = tomllib.loads((ROOT / "runtime" / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__


def test_a_program_without_torch_prints_lines_of_json(file, tmp_path):
    """The folder alone, as the package of its own has it."""
    import cv2

    (tmp_path / "centernet_d2_runtime").symlink_to(ROOM)
    cv2.imwrite(str(tmp_path / "a.png"), grey(10))
    command = [sys.executable, "-X", "importtime", "-m", "centernet_d2_runtime", str(file())]
    settings = {"cwd": tmp_path, "capture_output": True, "text": True}
    done = subprocess.run([*command, "a.png"], env=os.environ | {"PYTHONPATH": "."}, **settings)
    row = {"class_name": "dog", "score": 0.75, "box": [0, 0, 10, 20]}
    assert json.loads(done.stdout)["detections"] == [
        row,
        row | {"class_name": "cat", "score": 0.5, "box": [10, 10, 30, 30]},
    ]
    assert not [line for line in done.stderr.splitlines() if line.split("|")[-1].strip() == "torch"]


@pytest.fixture
def command(file, tmp_path, monkeypatch):
    """The program in this process, in a folder with a picture `a.jpg`."""
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / "a.jpg"), grey(10))
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["", str(file()), *words])
        return main()

    return run


def with_thumbnail(content: bytes) -> bytes:
    """A JPEG with another, whole one in its EXIF, and bytes after its end."""
    inner = b"\xff\xe1" + (len(content) + 2).to_bytes(2) + content
    return content[:2] + inner + b"\xff" + content[2:] + b"more"  # a byte of filling


def test_a_picture_that_cannot_be_read_does_not_end_the_run(command, tmp_path, capfd):
    content = (tmp_path / "a.jpg").read_bytes()
    whole = with_thumbnail(content)
    texts = {"cut": content[:-2], "half": content[:400], "thumb": whole[:-6], "text": b"a\n"}
    for name, text in (texts | {"none": b"", "whole": whole}).items():
        (tmp_path / name).write_bytes(text)
    assert command("absent", *texts, "none", "whole", "a.jpg", ".") == 1
    out, err = capfd.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["file"] for row in rows] == ["whole", "a.jpg"]
    assert [row["detections"][0]["box"] for row in rows] == [[0, 0, 10, 20]] * 2
    lines = err.splitlines()
    assert "No such file or directory: 'absent'" in lines[0]
    assert "Is a directory: '.'" in lines.pop()
    expected = [f"error: '{name}' is no whole picture that OpenCV can" for name in (*texts, "none")]
    assert [line.partition(" read:")[0] for line in lines[1:]] == expected
    assert command("a.jpg") == 0


@pytest.mark.parametrize("cut", [*range(1, 30), 100, 300])
def test_a_jpeg_lacks_its_end(command, tmp_path, cut):
    content = (tmp_path / "a.jpg").read_bytes()
    assert not is_cut(content)
    assert is_cut(content[:-cut])
    assert is_cut(with_thumbnail(content)[: -cut - 4])


def test_a_program_without_opencv_and_with_wrong_numbers(command, monkeypatch, capsys):
    for number in ("nan", "-0.1", "1.5"):
        with pytest.raises(SystemExit, match="2"):
            command("a.jpg", "--score-threshold", number)
        told = f"--score-threshold is {number}: give a number from 0 to 1"
        out = capsys.readouterr().err
        assert out.startswith("usage: python -m centernet_d2.runtime [-h]")
        assert told in out
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(SystemExit) as stop:
        command("a.jpg")
    cure = "pip install 'centernet-d2-runtime[opencv]'"
    assert stop.value.code == f"error: reading pictures needs OpenCV: {cure}"


@pytest.mark.parametrize(
    ("given", "quota", "busy", "taken", "spins"),
    [
        (0, 0, False, 0, True),  # the runtime's own choice
        (0, 1.6, False, 2, True),
        (3, 1.6, False, 3, True),
        (0, 0, True, 0, False),
        (2, 0, True, 2, False),
    ],
)
def test_threads_fit_a_quota_and_do_not_spin_beside_others(
    file, monkeypatch, given, quota, busy, taken, spins
):
    onnxruntime, whole = pytest.importorskip("onnxruntime"), file()
    seen, asked, entries = [], [], []

    class Options(onnxruntime.SessionOptions):
        def add_session_config_entry(self, *entry):
            entries.append(entry)
            super().add_session_config_entry(*entry)

    class Seen(onnxruntime.InferenceSession):
        def __init__(self, file, options, **named):
            seen.append(options)
            super().__init__(file, options, **named)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Seen)
    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    monkeypatch.setattr(engines, "usable_cores", lambda: (2, quota) if quota else (8, 0))
    monkeypatch.setattr(engines, "is_busy", lambda cores: asked.append(cores) or busy)
    Detector(whole, threads=given)
    (options,) = seen
    assert options.intra_op_num_threads == taken
    assert asked == [taken or 8]
    assert any("allow_spinning" in name and value == "0" for name, value in entries) != spins
