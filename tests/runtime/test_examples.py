"""The examples in other languages, on a file made by hand and pictures whose answer is known."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from .by_hand import EXPECTED, write_onnx

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PAGE = EXAMPLES / "detect_in_a_page" / "detect.mjs"
# `ort` with the two things that the page uses; the session looks at the pixels that it is given.
STUB = """
class Tensor { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } }
const ort = { Tensor };
const session = { run: async ({ pictures: { type, data, dims } }) => {
  seen = { type, dims, data: Array.from(data) };
  const boxes = Float32Array.from([0, 0, 10, 20, 10, 10, 30, 30, 0, 0, 0, 0]);
  return { scores: { data: [0.75, 0.5, 0] }, pred_classes: { data: [1n, 0n, 0n] },
           pred_boxes: { data: boxes }, count: { data: [2n] } };
} };
"""
PIXELS = "[1, 2, 10, 255, 4, 5, 6, 255]"  # two of a row, red, green, blue, alpha


def in_node(folder: Path, text: str):
    node = shutil.which("node") or pytest.skip("no node here")
    script = folder / "run.mjs"
    script.write_text(text)
    settings = {"capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run([node, str(script)], cwd=folder, **settings)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_page_gives_blue_green_red_and_reads_the_rows_that_count(tmp_path):
    call = (
        f"await detect(ort, session, {PIXELS}, 2, 1, {{ names: ['cat', 'dog'], threshold: 0.4 }})"
    )
    found, seen = in_node(
        tmp_path,
        f"import {{ detect }} from {str(PAGE)!r};\nlet seen;\n{STUB}\n"
        f"const found = {call};\nconsole.log(JSON.stringify([found, seen]));\n",
    )
    assert seen == {"type": "uint8", "dims": [1, 1, 2, 3], "data": [10, 2, 1, 6, 5, 4]}
    assert found == EXPECTED


def test_the_page_with_onnxruntime_web(tmp_path):
    """Where it is installed: CENTERNET_D2_NODE_MODULES names its node_modules."""
    modules = os.environ.get("CENTERNET_D2_NODE_MODULES") or pytest.skip("no onnxruntime-web here")
    (tmp_path / "node_modules").symlink_to(modules)
    file = write_onnx(tmp_path / "model.onnx")
    found = in_node(
        tmp_path,
        f"import * as ort from 'onnxruntime-web';\nimport {{ detect }} from {str(PAGE)!r};\n"
        "import { readFileSync } from 'node:fs';\n"
        f"const file = new Uint8Array(readFileSync({str(file)!r}));\n"
        "const session = await ort.InferenceSession.create(file);\n"
        f"const found = await detect(ort, session, {PIXELS}, 2, 1, {{ names: ['cat', 'dog'] }});\n"
        "console.log(JSON.stringify(found));\n",
    )
    assert found == EXPECTED


@pytest.mark.slow
def test_the_program_in_cpp(tmp_path):
    openvino = pytest.importorskip("openvino")
    for tool in ("cmake", "c++"):
        shutil.which(tool) or pytest.skip(f"no {tool} here")
    source, build = EXAMPLES / "detect_in_cpp", tmp_path / "build"
    home = f"-DOpenVINO_DIR={Path(openvino.__path__[0], 'cmake')}"
    for command in (["-S", source, "-B", build, home], ["--build", build]):
        subprocess.run(["cmake", *command], check=True, capture_output=True, timeout=250)
    file = write_onnx(tmp_path / "model.onnx")
    red_green_blue = np.array([[1, 2, 10], [4, 5, 6]], "uint8")
    (tmp_path / "a.ppm").write_bytes(b"P6 2 1 255\n" + red_green_blue.tobytes())

    def detect(*words):
        command = [str(build / "detect"), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    # Of ONNX OpenVINO hands no metadata on, so that classes are numbers.
    lines = detect(file, tmp_path / "a.ppm", 0.6).stdout.splitlines()
    assert lines == ["1 0.7500 0.00 0.00 10.00 20.00"]
    (tmp_path / "b.ppm").write_bytes(b"P6 2 1 255\nabc")
    for wrong, told in (("b.ppm", "ends before its last pixel"), ("c.ppm", "is no binary PPM")):
        done = detect(file, tmp_path / wrong)
        assert (done.returncode, told in done.stderr) == (1, True)
