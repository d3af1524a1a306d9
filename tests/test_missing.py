"""Where something is missing the package imports, and names it with the command that brings it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest
from test_imports import PACKAGE, imported_modules

from centernet_d2 import missing

# Hides modules of the top level, as if they were not installed.
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
import centernet_d2
assert centernet_d2.__version__
try:
    centernet_d2.Predictor
except ImportError as error:
    print(error)
from centernet_d2.cli import main
sys.exit(main(["demo", "points"]))
"""
PIP = f"{sys.executable} -m pip install"
INSTALL = f"{sys.executable} -m centernet_d2 install-detectron2"


@pytest.mark.parametrize(
    ("hidden", "sentence"),
    [
        ("torch", f"torch, which is missing here: {PIP} {missing.TORCH_PAIR}."),
        ("detectron2", f"detectron2, which is missing here: {INSTALL}."),
        ("cv2", f"cv2, which is missing here: {PIP} opencv-python-headless."),
        ("pycocotools", f"pycocotools, which is missing here: {PIP} pycocotools."),
        ("cloudpickle", f"cloudpickle, which is missing here: {PIP} cloudpickle."),
        (
            "torch torchvision cv2 pycocotools detectron2",
            "torch, torchvision, cv2, pycocotools and detectron2, which are missing here: "
            f"{PIP} {missing.TORCH_PAIR} opencv-python-headless pycocotools, then {INSTALL}.",
        ),
    ],
)
def test_what_is_missing_is_named_with_its_cure(hidden, sentence):
    command = [sys.executable, "-c", HIDE, *hidden.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stdout == f"centernet_d2.Predictor needs {sentence}\n"
    assert done.stderr.endswith(f"centernet-d2 demo: centernet_d2 needs {sentence}\n")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("operator torchvision::nms does not exist"), f"install {missing.TORCH_PAIR}"),
        (ImportError("libGL.so.1: cannot open shared object file"), "centernet_d2 check says"),
        (ValueError("numpy.dtype size changed"), "centernet_d2 check says"),
    ],
)
def test_what_is_there_and_broken_has_a_cure(error, words, monkeypatch):
    monkeypatch.setattr(missing, "is_missing", lambda name: False)
    text = missing.explain("train", error).replace("--force-reinstall ", "")
    assert text.startswith(f"train cannot be used, as an import fails ({type(error).__name__}: ")
    assert words in text


@pytest.mark.parametrize(
    "name",
    ["missing.py", "check.py", *(f"installation/{name}" for name in (
        "__init__.py", "detectron2.py", "edits.py", "sources.py", "wheel.py"))],
)  # fmt: skip
def test_what_runs_without_anything_imports_the_standard_library_only(name):
    own = ("centernet_d2.missing", "centernet_d2.installation")
    modules = list(imported_modules(PACKAGE / name))
    modules = [module for module in modules if not module.startswith(own)]
    assert {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names


def test_messages_name_no_tool_of_a_checkout():
    """A user of the wheel has neither tools/ nor the Makefile."""
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        for node in texts:
            if id(node) not in docstrings and re.search("tools/|make install", str(node.value)):
                wrong.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {node.value}")
    assert not wrong, "\n".join(wrong)
