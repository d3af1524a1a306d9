"""docs/config.md, docs/published_numbers.md and MODEL_ZOO.md are what their tables say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from centernet_d2.config import KEYS
from centernet_d2.model_zoo import ENTRIES

TOOLS = {
    "make_config_page": "## MODEL.HEATMAP",
    "make_model_zoo": "## To start a training from",
    "make_published_numbers": "## CornerNet, Table 3",
}

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def load_tool(monkeypatch):
    """A function that imports `tools/<name>.py` as the command line does."""

    def load(name: str):
        spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        monkeypatch.syspath_prepend(ROOT / "tools")  # as for a program that is started there
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.parametrize("name", TOOLS)
def test_page_is_in_step(load_tool, monkeypatch, name):
    tool = load_tool(name)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--check"])
    assert tool.main() == 0, f"run tools/{name}.py"


@pytest.mark.parametrize("name", TOOLS)
def test_a_page_that_is_not_in_step_is_said(load_tool, monkeypatch, tmp_path, capsys, name):
    tool = load_tool(name)
    monkeypatch.setattr(tool, "FILE", tmp_path / "page.md")
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--check"])
    assert tool.main() == 1
    assert f"tools/{name}.py" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    assert tool.main() == 0
    assert TOOLS[name] in tool.FILE.read_text(encoding="utf-8")


def test_every_key_has_a_row(load_tool):
    sections = load_tool("make_config_page").page().split("\n## ")
    of_block = {text.splitlines()[0]: text for text in sections}
    for key in KEYS:
        block, _, name = key.rpartition(".")
        assert f"\n| `{name}` | " in of_block[block], key


def test_every_entry_of_the_zoo_is_named(load_tool):
    page = load_tool("make_model_zoo").page()
    assert [entry.name for entry in ENTRIES if entry.short_name not in page] == []


def test_what_is_measured_stands_in_the_zoo(load_tool, monkeypatch):
    tool, name = load_tool("make_model_zoo"), "COCO-Detection/points_dla34_140e"
    same = {"dataset": "coco_2017_val", "images": 5000, "date": "2026-12-01", "device": "GPU"}
    same |= {"versions": {"centernet_d2": "0.1.0", "torch": "2.9"}}
    runs = {
        view: same | {"published": {view: value}, "scores": {view: score}, "protocol": protocol}
        for view, value, score, protocol in (("none", 36.3, 36.34, "a"), ("ms", 40.7, 40.2, "b"))
    }
    monkeypatch.setattr(tool, "read_measured", lambda: {name: runs})
    page = tool.page()
    assert "| none 36.34 (+0.04) [note 1]; ms **40.20 (-0.50)** [note 2] |" in page
    notes = "1. 2026-12-01, centernet_d2 0.1.0, torch 2.9, GPU; a\n2. 2026-12-01"
    assert f"\n\nMeasured:\n\n{notes}, centernet_d2 0.1.0, torch 2.9, GPU; b\n\n## box AP" in page
    assert page.count("Measured:") == 1
