"""The Docker files, line by line without Docker: a virtual environment plays the Python image."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
import venv
from fnmatch import fnmatch
from pathlib import Path

import pytest

from .by_hand import write_onnx

ROOT = Path(__file__).resolve().parents[2]
FILES = ("cpu.Dockerfile", "cuda.Dockerfile")
KNOWN = {*("FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD")}


def steps(name: str) -> list[tuple[str, str]]:
    """Instructions and what stands behind them."""
    lines = (ROOT / "docker" / name).read_text().splitlines()
    found = [tuple(line.split(" ", 1)) for line in lines if line and not line.startswith("#")]
    assert {word for word, _ in found} <= KNOWN
    return found


def of(name: str, word: str) -> list[str]:
    return [rest for first, rest in steps(name) if first == word]


def in_context(path: str) -> bool:
    """Whether `.dockerignore` lets a file or folder of the repository in."""
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = [rule[1:] for rule in rules if rule.startswith("!")]
    return any(path == rule or path.startswith(f"{rule}/") for rule in let_in)


@pytest.mark.parametrize("name", FILES)
def test_what_is_copied_is_there_and_the_server_is_nobody(name):
    for rest in of(name, "COPY"):
        source, _ = rest.split()
        assert (ROOT / source).exists()
        assert source == "." or in_context(source)
    assert of(name, "FROM") == ["python:3.11-slim"]
    (user,) = of(name, "USER")
    assert any(f"--create-home {user}" in rest for rest in of(name, "RUN"))
    words = [word for word, _ in steps(name)]
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert max(index for index, word in enumerate(words) if word == "RUN") < words.index("USER")


def test_what_the_package_is_built_of_is_let_in():
    assert all(map(in_context, ("pyproject.toml", "README.md", "configs/a.yaml")))
    assert not any(map(in_context, ("output", "datasets", ".venv", "docs", "model_final.pth")))
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert any(fnmatch("a/__pycache__", rule) for rule in ignored)


def pip(*words, python=sys.executable):
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=280)


@pytest.fixture(scope="module")
def index():
    """Skips where no package index can be asked."""
    if pip("index", "versions", "fastapi").returncode:
        pytest.skip("no package index can be reached")


@pytest.mark.slow
def test_the_steps_of_cuda_resolve(index):
    """What they would install is looked up; a GPU and gigabytes are not at hand."""
    for rest in of("cuda.Dockerfile", "RUN"):
        words = shlex.split(rest)
        if words[:2] == ["pip", "install"]:
            done = pip("install", "--dry-run", *words[2:])
            assert done.returncode == 0, done.stderr
        elif words[0] == "centernet-d2":
            done = subprocess.run(
                [sys.executable, "-m", "centernet_d2", *words[1:], "--help"], capture_output=True
            )
            assert done.returncode == 0
        else:
            assert words[0] == "useradd"


@pytest.mark.slow
def test_the_steps_of_cpu(index, tmp_path):
    pytest.importorskip("onnx")
    home, image = tmp_path / "home", tmp_path / "image"
    venv.create(image, with_pip=True)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    clean["PATH"] = f"{image / 'bin'}{os.pathsep}{clean['PATH']}"
    for word, rest in steps("cpu.Dockerfile"):
        if word == "COPY":
            source, target = rest.split()
            unwanted = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, home / target, ignore=unwanted)
        elif word == "RUN" and not rest.startswith("useradd"):  # this machine gets no user
            done = subprocess.run(
                rest, shell=True, cwd=home, env=clean, capture_output=True, text=True, timeout=280
            )
            assert done.returncode == 0, done.stderr
    model = write_onnx(tmp_path / "model.onnx")
    command = json.loads(of("cpu.Dockerfile", "ENTRYPOINT")[0])
    command[command.index("0.0.0.0")] = "127.0.0.1"
    (of_user,) = map(json.loads, of("cpu.Dockerfile", "CMD"))
    words = [*command, *(str(model) for _ in of_user), "--port", "0"]
    words[0] = str(image / "bin" / words[0])
    process = subprocess.Popen(words, env=clean, cwd=home, stderr=subprocess.PIPE, text=True)
    try:
        told = process.stderr.readline()
        url = re.search(r"http://\S+", told)[0]
        check = json.loads(of("cpu.Dockerfile", "HEALTHCHECK")[0].partition("CMD ")[2])
        asks = [word.replace("http://127.0.0.1:8000", url) for word in check]
        asks[0] = str(image / "bin" / asks[0])
        assert subprocess.run(asks, env=clean, timeout=30).returncode == 0
        picture = (ROOT / "docs" / "images").rglob("*.jpg")
        with urllib.request.urlopen(f"{url}/detect", next(picture).read_bytes()) as answer:
            found = json.load(answer)["pictures"][0]["detections"]
        assert [each["class_name"] for each in found] == ["dog", "cat"]
        process.terminate()
        assert process.wait(20) == 0
        done = subprocess.run(
            [image / "bin" / "pip", "list"], env=clean, capture_output=True, text=True
        )
        assert "onnxruntime" in done.stdout
        assert "torch" not in done.stdout
    finally:
        process.kill()
