#!/usr/bin/env python3
"""Write what a study has measured into docs/reproduction.md, and its figures into docs/images.

    tools/make_reproduction_page.py study

`study` is the folder of `centernet-d2 reproduce ablations --output study`, whose report.md is taken
as it is: all below the line of the page that says so is replaced.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
MARK = "<!-- Below: written by tools/make_reproduction_page.py from a study; do not edit. -->\n"


def page(report: str, before: str) -> str:
    """The page: what stands above the mark, and the report with its figures in docs/images."""
    above, mark, _ = before.partition(MARK)
    if not mark:
        raise ValueError(f"docs/reproduction.md has no line {MARK}")
    body = re.sub(r"\]\(report/(\w+)\.png\)", r"](images/reproduction_\1.png)", report)
    body = re.sub(r"[ ]{2,}", " ", re.sub(r"-{4,}", "---", body))  # tables as narrow as they are
    return f"{above}{mark}\n{body.partition(chr(10))[2].strip()}\n"


def main() -> None:
    """See the module."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    study, file = Path(sys.argv[1]), DOCS / "reproduction.md"
    report = (study / "report.md").read_text(encoding="utf-8")
    file.write_text(page(report, file.read_text(encoding="utf-8")), encoding="utf-8")
    for picture in (study / "report").glob("*.png"):
        shutil.copy(picture, DOCS / "images" / f"reproduction_{picture.name}")


if __name__ == "__main__":
    main()
