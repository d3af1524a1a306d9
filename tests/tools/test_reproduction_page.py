"""docs/reproduction.md: what a tool writes from a study, and what stands above it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("page", ROOT / "tools/make_reproduction_page.py")
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)


def test_the_report_takes_the_place_of_the_earlier_one():
    report = "# Title\n\nWords.\n\n| a    |\n|:-----|\n\n![told](report/learning.png)\n\ntold.\n"
    found = tool.page(report, f"# Mine\n\nkept\n\n{tool.MARK}\nold\n")
    assert found == (
        f"# Mine\n\nkept\n\n{tool.MARK}\nWords.\n\n| a |\n|:---|\n\n"
        "![told](images/reproduction_learning.png)\n\ntold.\n"
    )
    assert tool.page(report, found) == found
    with pytest.raises(ValueError, match="has no line"):
        tool.page(report, "# Mine\n")


def test_the_page_has_its_pictures():
    text = (ROOT / "docs/reproduction.md").read_text()
    assert text.count(tool.MARK) == 1
    for part in text.split("](images/")[1:]:
        assert (ROOT / "docs/images" / part.partition(")")[0]).is_file()
