"""docs/config.md, docs/published_numbers.md, MODEL_ZOO.md, BENCHMARKS.md: what tables say."""

from __future__ import annotations

import importlib.util
import json
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


@pytest.mark.parametrize("name", [*TOOLS, "make_benchmarks_page"])
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


def test_records_fill_the_places_of_the_page(load_tool, monkeypatch, tmp_path):
    tool = load_tool("make_benchmarks_page")
    monkeypatch.setattr(tool, "FILE", tmp_path / "page.md")
    monkeypatch.setattr(tool, "RECORDS", tmp_path)
    machine = {"cpu": "EPYC", "cpu_capability": "AVX512", "threads": 2, "torch": "2.15.0"}
    shared = {"date": "2026-11-26", "options": {"rounds": 5, "overrides": []}, "machine": machine}

    def row(case, name, ms, speed_up, spread):
        told = {"case": case, "by": name, "reference": "NumPy", "speed_up": speed_up}
        return told | {"uncertainty": 0.1, "ms": ms, "lowest_ms": 1, "spread": spread}

    nms = [row("few", "NumPy", 14.26, 1, 0.1), row("few", "ours", 0.5, 28.5, 0.2)]
    nms += [row("many", "NumPy", 1400.0, 1, 0.3), row("many", "ours", 7000, 0.2, None)]
    for name, rows, date in (
        ("nms-cpu", nms, "2026-11-26"),
        ("nms-gpu", [*nms, row("few", "theirs", 3, 1, 0.1)], "2026-11-27"),
        ("size-cpu", [{"model": "a", "parameters": 1234567}], "2026-11-26"),
    ):
        record = shared | {"date": date, "section": name.partition("-")[0], "rows": rows}
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    tool.FILE.write_text("# Mine\n\n<!-- record: nms -->\nold\n<!-- end of record -->\n\nkept\n")
    origin = "EPYC (AVX512), 2 thread(s), torch 2.15.0, at most 5 rounds"
    page = tool.page()
    assert page.startswith("# Mine\n\n<!-- record: nms -->\n\n2026-11-27, " + origin)
    latest = (
        "| few | 14.3 | 0.500 (**28.5**) | 3.00 (**1**) |\n| many | 1400 | 7000 (**0.2**) | |\n"
    )
    assert latest in page
    assert page.endswith(f"""

2026-11-26, {origin}, spreads up to 0.3, half of them up to 0.2; in brackets times as fast as NumPy.

| case | NumPy | ours |
|:---|---:|---:|
| few | 14.3 | 0.500 (**28.5**) |
| many | 1400 | 7000 (**0.2**) |

<!-- end of record -->

kept

## size

<!-- record: size -->

2026-11-26, {origin}.

| model | parameters |
|:---|---:|
| a | 1234567 |

<!-- end of record -->
""")
    tool.FILE.write_text(page)
    assert tool.page() == page
    (tmp_path / "size-cpu.json").unlink()
    assert "## size\n\n<!-- record: size -->\n\nNot measured yet: " in tool.page()
