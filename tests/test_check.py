"""The check command: each known way of being broken is named together with its cure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from centernet_d2 import check
from centernet_d2.missing import TORCH_PAIR

ROOT = Path(__file__).resolve().parents[1]


def importer_that(failures: dict[str, Exception]):
    """Imports as usual, except for the modules that it is told to fail at."""

    def importer(name: str):
        if name in failures:
            raise failures[name]
        return import_module(name)

    return importer


def missing(name: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"No module named '{name}'", name=name)


def test_this_environment_is_fine():
    findings = check.collect_findings()
    assert [finding for finding in findings if not finding.ok] == []
    names = [finding.name for finding in findings]
    for name in ("python", "torch", "torchvision", "numpy", "opencv", "detectron2", "devices"):
        assert name in names


def test_old_python():
    finding = check.check_python((3, 10, 13))
    assert not finding.ok
    assert "3.11" in finding.cure
    assert check.check_python((3, 13, 0)).ok


def test_torch_and_torchvision_that_do_not_match():
    error = RuntimeError("operator torchvision::nms does not exist")
    finding = check.check("torchvision", importer_that({"torchvision": error}))
    assert not finding.ok
    assert "operator torchvision::nms does not exist" in finding.detail
    assert "torch==" in finding.cure
    assert "torchvision==" in finding.cure
    after = check.check("detectron2", importer_that({"detectron2.modeling": error}))
    assert "torchvision first" in after.cure


def test_missing_torch():
    assert "torch==" in check.check("torch", importer_that({"torch": missing("torch")})).cure
    assert not check.check("devices", importer_that({"torch": missing("torch")})).ok


@pytest.mark.parametrize(
    ("module", "error", "words"),
    [
        ("detectron2", missing("detectron2"), "not on the package index"),
        ("detectron2.model_zoo", missing("pkg_resources"), "setuptools<82"),
        ("detectron2.modeling", missing("cv2"), "opencv first"),
        ("detectron2.modeling", AttributeError("no attribute 'bool'"), "known to work"),
    ],
)
def test_broken_detectron2(module, error, words):
    finding = check.check("detectron2", importer_that({module: error}))
    assert not finding.ok
    assert words in finding.cure


def test_missing_opencv():
    finding = check.check_opencv(importer_that({"cv2": missing("cv2")}), lambda name: None)
    assert not finding.ok
    assert finding.cure == "{pip} install opencv-python-headless"


def test_opencv_that_does_not_load_is_replaced():
    installed = {"opencv-python": "4.12"}.get
    error = ImportError("libGL.so.1: cannot open shared object file")
    finding = check.check_opencv(importer_that({"cv2": error}), installed)
    assert "uninstall --yes opencv-python &&" in finding.cure


@pytest.mark.parametrize(
    ("others", "kept"),
    [
        ({"opencv-python": "4.12"}, "opencv-python==4.12"),
        ({"opencv-contrib-python": "4.13"}, "opencv-contrib-python==4.13"),
    ],
)
def test_of_two_opencv_wheels_the_users_own_stays(others, kept):
    """The headless one came with this package."""
    finding = check.check_opencv(import_module, {"opencv-python-headless": "5.0", **others}.get)
    assert not finding.ok
    assert "keep one" in finding.cure
    assert f"uninstall --yes opencv-python-headless {next(iter(others))} &&" in finding.cure
    assert finding.cure.endswith(f"{{pip}} install --no-deps {kept}")


def test_missing_library():
    broken = importer_that({"fvcore": missing("fvcore")})
    finding = check.check("fvcore", broken)
    assert not finding.ok
    assert finding.cure == "{pip} install fvcore"


@pytest.mark.parametrize("name", list(check.CHECKS))
def test_every_failure_is_one_line_with_a_cure(name):
    def importer(module):
        raise RuntimeError("first line\nlast line")

    finding = check.check(name, importer)
    assert not finding.ok
    assert finding.detail == "RuntimeError: last line"
    assert finding.cure


def test_own_package_that_did_not_import_in_full():
    def require():
        raise missing("detectron2")

    package = SimpleNamespace(require=require, __version__="0", __path__=["."])
    finding = check.check("centernet_d2", lambda name: package)
    assert not finding.ok
    assert "detectron2" in finding.detail


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {check.SOURCE_RECORD: json.dumps({"source": "git", "commit": "0123456789",
             "repository": "https://somewhere", "compiled_ops": True})},
            "source git, commit 01234567 of https://somewhere, with its C++ part",
        ),
        (
            {check.SOURCE_RECORD: json.dumps({"source": "pypi", "archive": "a==0.5",
             "edits": ["x", "y"], "compiled_ops": False})},
            "source pypi, archive a==0.5, 2 edits, pure Python",
        ),
        ({"direct_url.json": json.dumps({"url": "file:///a"})}, "source file:///a"),
        ({}, "source unknown: not installed by this package"),
    ],
)  # fmt: skip
def test_source_of_detectron2(files, expected):
    assert check.describe_source(files.get) == expected


def test_report_and_exit_status(monkeypatch, capsys):
    good = check.Finding("numpy", True, "2.4")
    bad = check.Finding("opencv", False, "gone", "{pip} install it")
    monkeypatch.setattr(check, "collect_findings", lambda: [good])
    assert check.main() == 0
    assert "all fine" in capsys.readouterr().out
    monkeypatch.setattr(check, "collect_findings", lambda: [good, bad])
    assert check.main() == 1
    printed = capsys.readouterr().out
    assert f"cure: {sys.executable} -m pip install it" in printed
    assert "not fine: opencv" in printed


def test_it_runs_where_detectron2_cannot_be_imported(tmp_path):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").write_text("raise ImportError('broken for the test')")
    command = [sys.executable, "-m", "centernet_d2.check"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 1
    assert "FAIL  detectron2" in result.stdout
    assert "-m centernet_d2 install-detectron2" in result.stdout


def test_the_tested_pair_is_the_pinned_pair():
    lines = (ROOT / "requirements" / "torch.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert " ".join(pins) == TORCH_PAIR
