"""The installer of detectron2: its edits stop when they do not apply, nothing is left half done."""

from __future__ import annotations

import argparse
import email
import io
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from centernet_d2.cli.install_detectron2 import run
from centernet_d2.cli.parsers.install_detectron2 import add_arguments
from centernet_d2.installation import detectron2 as installer
from centernet_d2.installation import edits as table
from centernet_d2.installation import sources as origin
from centernet_d2.installation import wheel

ROOT = Path(__file__).resolve().parents[2]
MODEL_ZOO = b"""\
import os
import pkg_resources
import torch

def get_config_file(config_path):
    cfg_file = pkg_resources.resource_filename(
        "detectron2.model_zoo", os.path.join("configs", config_path)
    )
    return cfg_file
"""

# The lines of detectron2 0.5 that the table is about, and little else.
TREE_05 = {
    "LICENSE": b"Apache\n",
    "README.md": b"not in the wheel",
    "setup.py": b"raise SystemExit('never run')",
    "detectron2/__init__.py": b'__version__ = "0.5"\n',
    "detectron2/model_zoo/__init__.py": b"",
    "detectron2/model_zoo/model_zoo.py": MODEL_ZOO,
    "detectron2/model_zoo/configs/Base.yaml": b"VERSION: 2\n",
    "detectron2/layers/deform_conv.py": b"from detectron2 import _C\n",
    "detectron2/layers/nms.py": b"import torch\nkeep = torch.ops.detectron2.nms_rotated\n",
    "detectron2/layers/rotated_boxes.py": b"from detectron2 import _C\n",
    "detectron2/layers/roi_align_rotated.py": b"from detectron2 import _C\n",
    "detectron2/evaluation/coco_evaluation.py": (
        b"from detectron2.evaluation.fast_eval_api import COCOeval_opt\n"
    ),
    "detectron2/export/__init__.py": b"from .api import *\n",
    "detectron2/data/transforms/transform.py": b"x = Image.LINEAR\n",
    "detectron2/structures/masks.py": b"x = np.bool, np.int, np.bool_, np.float32\n" * 9,
    "projects/PointRend/point_rend/__init__.py": b"",
    "projects/PointRend/train_net.py": b"not in the wheel",
}
TREE_MAIN = {
    "LICENSE": b"Apache\n",
    "configs/Base.yaml": b"VERSION: 2\n",
    "configs/common/train.py": b"",
    "detectron2/__init__.py": b'__version__ = "0.6"\n',
    "detectron2/model_zoo/model_zoo.py": MODEL_ZOO,
    "detectron2/layers/csrc/vision.cpp": b"not in the wheel",
    "detectron2/layers/deform_conv.py": b"try:\n    from detectron2 import _C\n",
    "detectron2/layers/nms.py": b"import torch\nkeep = torch.ops.detectron2.nms_rotated\n",
    "detectron2/layers/rotated_boxes.py": b"import torch\niou = torch.ops.detectron2.box_iou\n",
    "detectron2/layers/roi_align_rotated.py": (
        b"import torch\n" + b"x = torch.ops.detectron2.roi_align\n" * 3
    ),
}
EDITS_05 = table.PKG_RESOURCES_EDITS + table.RELEASE_05_EDITS
EDITS_MAIN = table.PKG_RESOURCES_EDITS + table.MAIN_MISSING_OPS_EDITS


def make_archive(path: Path, tree: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in tree.items():
            member = tarfile.TarInfo(f"detectron2_cdo-0.5/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(arguments))


# --- the table of edits ---


def test_edits_of_05_apply_and_say_so_in_each_file():
    files = wheel.apply_edits(wheel.select_files(TREE_05), EDITS_05)
    masks = files["detectron2/structures/masks.py"].decode()
    assert "x = bool, int, np.bool_, np.float32\n" in masks
    assert masks.endswith("# Changed for centernet_d2 by its install tool: numpy-builtin-types.\n")
    zoo = files["detectron2/model_zoo/model_zoo.py"].decode()
    assert "pkg_resources." not in zoo
    assert 'importlib.resources.files("detectron2.model_zoo")' in zoo
    compile(zoo, "model_zoo.py", "exec")
    assert b"Image.BILINEAR" in files["detectron2/data/transforms/transform.py"]
    assert b"_C.nms_rotated" in files["detectron2/layers/nms.py"]
    assert b"Changed" not in files["detectron2/__init__.py"]


def test_edits_of_main_apply():
    files = wheel.apply_edits(wheel.select_files(TREE_MAIN), EDITS_MAIN)
    assert not any(b"torch.ops.detectron2" in content for content in files.values())
    deform_conv = files["detectron2/layers/deform_conv.py"]
    assert b"    from detectron2._missing_ops import _C" in deform_conv


@pytest.mark.parametrize("edit", EDITS_05, ids=lambda edit: edit.name)
def test_an_edit_that_does_not_apply_stops_and_is_named(edit):
    files = wheel.select_files(TREE_05)
    unmatched = replace(edit, minimum=edit.minimum + 1000)
    with pytest.raises(wheel.InstallError, match=f"edit '{edit.name}' applied .* nothing was inst"):
        wheel.apply_edits(files, [unmatched])
    assert files == wheel.select_files(TREE_05)  # the input is never changed


def test_the_table_expects_something_of_every_edit_and_names_are_unique():
    for edits in (EDITS_05, EDITS_MAIN):
        assert all(edit.minimum > 0 and edit.why for edit in edits)
        names = [edit.name for edit in edits]
        assert len(names) == len(set(names))


def test_missing_op_says_what_to_do():
    namespace: dict[str, object] = {}
    exec(table.MISSING_OPS_TEXT, namespace)
    with pytest.raises(ImportError, match=r"'nms_rotated'.*install-detectron2 --source git --with"):
        namespace["_C"].nms_rotated  # noqa: B018
    assert not hasattr(namespace["_C"], "__wrapped__")


# --- which files become the wheel ---


def test_selection_of_files():
    files = wheel.select_files(TREE_05)
    assert "detectron2/projects/point_rend/__init__.py" in files
    assert "detectron2/model_zoo/configs/Base.yaml" in files
    assert not any(path.startswith(("setup", "README", "projects")) for path in files)
    files = wheel.select_files(TREE_MAIN)
    assert "detectron2/model_zoo/configs/common/train.py" in files
    assert not any(path.endswith(".cpp") for path in files)
    extension = "detectron2/_C.cpython-313-x86_64-linux-gnu.so"  # there after --with-ops
    assert extension in wheel.select_files({**TREE_MAIN, extension: b""})


@pytest.mark.parametrize(
    ("tree", "message"),
    [({}, "no detectron2/__init__.py"), ({"detectron2/__init__.py": b""}, "no model-zoo configs")],
)
def test_sources_of_something_else_stop(tree, message):
    with pytest.raises(wheel.InstallError, match=message):
        wheel.select_files(tree)


# --- the wheel ---


def write(directory: Path) -> Path:
    return wheel.write_wheel(
        wheel.select_files(TREE_05),
        version="0.5",
        tag="py3-none-any",
        license_text=b"Apache\n",
        source={"source": "pypi", "archive": "x", "edits": [], "compiled_ops": False},
        directory=directory,
    )


def test_wheel_is_well_formed_and_equal_from_run_to_run(tmp_path):
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    assert first.name == "detectron2-0.5-py3-none-any.whl"
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        names = set(archive.namelist())
        record = archive.read("detectron2-0.5.dist-info/RECORD").decode()
        metadata = email.message_from_bytes(archive.read("detectron2-0.5.dist-info/METADATA"))
        source = json.loads(archive.read(f"detectron2-0.5.dist-info/{wheel.SOURCE_RECORD}"))
    assert {line.split(",")[0] for line in record.splitlines()} == names
    requirements = metadata.get_all("Requires-Dist")
    assert metadata["Name"] == "detectron2"
    assert "fvcore>=0.1.5,<0.1.6" in requirements
    assert not any(name.startswith(("black", "setuptools", "torch")) for name in requirements)
    assert source["source"] == "pypi"


def test_pip_reads_the_wheel(tmp_path):
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(write(tmp_path))], check=True)
    assert (target / "detectron2" / "model_zoo" / "configs" / "Base.yaml").exists()


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def run_out_of_space(file, members):
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(wheel, "_write_zip", run_out_of_space)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- the archive ---


def test_archive_with_another_sha256_stops(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", TREE_05)
    with pytest.raises(wheel.InstallError, match="not the archive that the edits were written for"):
        origin.read_archive(archive)


def give_archive(monkeypatch, archive: Path) -> None:
    digest = origin.hashlib.sha256(archive.read_bytes()).hexdigest()
    read = partial(origin.read_archive, sha256=digest)
    monkeypatch.setattr(origin, "download_archive", lambda folder: archive)
    monkeypatch.setattr(origin, "read_archive", read)


def test_archive_becomes_a_wheel_that_records_its_source(tmp_path, monkeypatch):
    archive = make_archive(tmp_path / "a.tar.gz", TREE_05)
    give_archive(monkeypatch, archive)
    built = installer.build("pypi", tmp_path / "wheels")
    with zipfile.ZipFile(built) as content:
        record = json.loads(content.read(f"detectron2-0.5.dist-info/{wheel.SOURCE_RECORD}"))
        assert table.MISSING_OPS_PATH in content.namelist()
    assert record["archive"] == "detectron2-cdo==0.5"
    assert "pillow-linear" in record["edits"]


def test_failing_edit_installs_and_leaves_nothing(tmp_path, monkeypatch):
    broken = {**TREE_05, "detectron2/data/transforms/transform.py": b"x = Image.BILINEAR\n"}
    archive = make_archive(tmp_path / "a.tar.gz", broken)
    give_archive(monkeypatch, archive)
    monkeypatch.setattr(installer, "install_wheel", lambda wheel: pytest.fail("installed"))
    wheels = tmp_path / "wheels"
    with pytest.raises(wheel.InstallError, match="'pillow-linear' applied 0 times"):
        command("--source", "pypi", "--wheel-dir", str(wheels))
    assert not wheels.exists()


def test_download_failure_shows_what_pip_said(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "THESE PACKAGES DO NOT MATCH THE HASHES")
    monkeypatch.setattr(origin.subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(wheel.InstallError, match="DO NOT MATCH THE HASHES"):
        origin.download_archive(tmp_path)


# --- the git source ---


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *arguments]
    environment = origin._git_environment()
    result = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return result.stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    folder = tmp_path / "a repository"
    for name, content in TREE_MAIN.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "pinned")
    monkeypatch.setattr(origin, "COMMIT", git(folder, "rev-parse", "HEAD"))
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "newer than the pin")
    return folder


def test_git_source_takes_the_pinned_commit_of_a_local_path(repository, tmp_path):
    built = installer.build("git", tmp_path / "wheels", repository=str(repository))
    assert built.name == "detectron2-0.6+g02b5c4e2-py3-none-any.whl"
    with zipfile.ZipFile(built) as content:
        names = content.namelist()
    assert "detectron2/model_zoo/configs/common/train.py" in names
    assert table.MISSING_OPS_PATH in names


def test_git_source_without_the_commit_stops(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(origin, "COMMIT", "0" * 40)
    with pytest.raises(wheel.InstallError, match="fetch"):
        installer.build("git", tmp_path / "wheels", repository=str(repository))
    assert not (tmp_path / "wheels").exists()


def test_git_problem_names_a_missing_repository_and_a_missing_git(tmp_path, monkeypatch):
    assert "nowhere" in origin.git_problem(str(tmp_path / "nowhere"))
    monkeypatch.setattr(origin.shutil, "which", lambda name: None)
    assert origin.git_problem("anything") == "git is not installed"


def test_with_ops_without_a_compiler_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(origin.shutil, "which", lambda name: None)
    with pytest.raises(wheel.InstallError, match=r"no C\+\+ compiler found.*leave --with-ops out"):
        installer.build("git", tmp_path, repository="unused", with_ops=True)


# --- the choice of a source ---


@pytest.mark.parametrize(
    ("installed", "git_says", "expected"),
    [
        (None, None, "installed"),
        ("No module named 'detectron2'", None, "git"),
        ("No module named 'detectron2'", "git is not installed", "pypi"),
        ("No module named 'detectron2'", "Could not resolve host", "pypi"),
    ],
)
def test_auto_keeps_what_works_then_git_then_pypi(installed, git_says, expected, capsys):
    choice = installer.choose_source(
        "auto", repository="", installed=lambda with_ops: installed, git=lambda url: git_says
    )
    assert choice == expected
    if expected == "pypi":
        assert git_says in capsys.readouterr().out


def test_a_named_source_is_taken_without_looking():
    def never(argument):
        raise AssertionError("looked")

    found = installer.choose_source("git", repository="", installed=never, git=never)
    assert found == "git"


def test_dry_run_says_what_it_would_take_and_does_nothing(monkeypatch, capsys):
    monkeypatch.setattr(installer, "build", lambda *_, **__: pytest.fail("built"))
    assert command("--source", "pypi", "--dry-run") == 0
    assert "taking source pypi (detectron2-cdo==0.5)" in capsys.readouterr().out


def test_ops_are_refused_for_the_archive():
    with pytest.raises(wheel.InstallError, match=r"no C\+\+ sources"):
        command("--source", "pypi", "--with-ops")


def test_failing_pip_is_an_error(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(installer.subprocess, "run", lambda command: failed)
    with pytest.raises(wheel.InstallError, match="pip failed"):
        installer.install_wheel(tmp_path / "x.whl")


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (None, "installed"),
        ("ModuleNotFoundError: No module named 'some_library'", "No module named 'some_library'"),
        ("ImportError: libGL.so.1: cannot open shared object file", "centernet_d2 check says"),
    ],
)
def test_it_imports_in_the_end_or_says_why_not(problem, words, monkeypatch, capsys):
    monkeypatch.setattr(installer, "build", lambda source, folder, **_: folder / "a.whl")
    monkeypatch.setattr(installer, "install_wheel", lambda wheel: None)
    monkeypatch.setattr(installer, "import_problem", lambda with_ops: problem)
    if problem is None:
        assert command("--source", "pypi") == 0
        assert words in capsys.readouterr().out
    else:
        with pytest.raises(wheel.InstallError, match=f"It is installed, but .*{words}"):
            command("--source", "pypi")


def test_without_pip_nothing_is_fetched(monkeypatch):
    monkeypatch.setattr(installer, "is_missing", lambda name: name == "pip")
    monkeypatch.setattr(installer, "build", lambda *_, **__: pytest.fail("built"))
    with pytest.raises(wheel.InstallError, match=r"no pip.* -m ensurepip"):
        command("--source", "pypi")


def test_what_detectron2_needs_a_plain_install_brings():
    """So that pip chooses versions that agree, and the installer of detectron2 moves none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split("[<>=]", line)[0].lower() for line in project["dependencies"]}
    wanted = {re.split("[<>=]", line)[0].lower() for line in table.REQUIREMENTS}
    assert wanted - names == set()


def test_the_page_names_exactly_what_is_fetched_and_every_extra():
    page = (ROOT / "docs" / "installation.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [f"[{name}]" for name in project["optional-dependencies"] if name != "opencv"]
    pins = [origin.REPOSITORY, origin.COMMIT, origin.ARCHIVE_REQUIREMENT, origin.ARCHIVE_SHA256]
    assert [words for words in (*pins, *extras) if words not in page] == []
    assert origin.ARCHIVE_SHA256 in (ROOT / "README.md").read_text()
