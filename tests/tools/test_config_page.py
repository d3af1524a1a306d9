"""docs/config.md is what the table of keys says."""

from __future__ import annotations

import sys

from centernet_d2.config import KEYS


def test_page_is_in_step_and_has_a_row_for_every_key(load_tool, monkeypatch):
    tool = load_tool("make_config_page")
    monkeypatch.setattr(sys, "argv", ["make_config_page.py", "--check"])
    assert tool.main() == 0, "run tools/make_config_page.py"
    sections = tool.FILE.read_text(encoding="utf-8").split("\n## ")
    of_block = {text.splitlines()[0]: text for text in sections}
    for key in KEYS:
        block, _, name = key.rpartition(".")
        assert f"\n| `{name}` | " in of_block[block], key


def test_a_page_that_is_not_in_step_is_said(load_tool, monkeypatch, tmp_path, capsys):
    tool = load_tool("make_config_page")
    monkeypatch.setattr(tool, "FILE", tmp_path / "config.md")
    monkeypatch.setattr(sys, "argv", ["make_config_page.py", "--check"])
    assert tool.main() == 1
    assert "tools/make_config_page.py" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["make_config_page.py"])
    assert tool.main() == 0
    assert "## MODEL.HEATMAP" in tool.FILE.read_text(encoding="utf-8")
