"""docs/config.md is what the table of keys says."""

from __future__ import annotations

from pathlib import Path

from centernet_d2.config import KEYS
from centernet_d2.config.page import page

FILE = Path(__file__).resolve().parents[2] / "docs" / "config.md"


def test_page_is_in_step():
    assert FILE.read_text(encoding="utf-8") == page(), "run tools/make_config_page.py"


def test_every_key_has_a_row():
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    for key in KEYS:
        assert any(row.startswith(f"| `{key.rpartition('.')[2]}` |") for row in rows), key
