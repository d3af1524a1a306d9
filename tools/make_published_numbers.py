#!/usr/bin/env python3
"""Write docs/published_numbers.md from docs/published_numbers.yaml.

With --check nothing is written, and the exit status is 1 where it is not in step.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from _pages import write_or_check

DOCS = Path(__file__).resolve().parents[1] / "docs"
FILE, DATA = DOCS / "published_numbers.md", DOCS / "published_numbers.yaml"

INTRODUCTION = """# What the papers measured

<!-- Written by tools/make_published_numbers.py from published_numbers.yaml; do not edit. -->

The scores that the three papers print of their own detectors, with the config that tests or trains
each row; [coverage.md](coverage.md) has the commands. Nothing here was measured with this package.
Columns have the names that an evaluation prints. `published_numbers.yaml` is for programs.

- Times per picture are in centernet_d2/analysis/published_speed.csv, which `analyze plot` draws.
- The numbers of Table 3c and d of "Objects as Points" are not here: the text that was read has lost
  them. The 230 epochs of 3d are DLA-34 of its Table 1.
- CornerNet "of that time" is that before its correction of March 2019.
- Where the authors' code prints another number than the paper, [MODEL_ZOO.md](../MODEL_ZOO.md) has
  the code's: ResNet-101 at 384 pixels on VOC (77.1), poses on val2017, single trainings on KITTI.
"""


def tables() -> list[dict[str, Any]]:
    """The tables of the data file, see there."""
    return yaml.safe_load(DATA.read_text(encoding="utf-8"))


def page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *map(_section, tables())])


def _section(table: dict[str, Any]) -> str:
    columns = ["", "config", *map(str, table["columns"])]
    lines = [columns, ["---", "---", *["--:"] * len(table["columns"])]]
    for name, config, *values in table["rows"]:
        lines.append([name, f"`{config}`" if config else "", *map(str, values)])
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"## {table['table']}\n\n{table['about']}. On {table['data']}.\n\n{body}\n"


def main() -> int:
    """Write or check; return the exit status."""
    return write_or_check(FILE, page, __doc__)


if __name__ == "__main__":
    sys.exit(main())
