#!/usr/bin/env python3
"""Bring docs/config.md in step with the table of keys in centernet_d2.config.

Keys, defaults and what is allowed are written; the meanings are the page's own, and edited there.
With --check nothing is written, and the exit status is 1 where it is not in step, or where a key or
a group has no meaning yet.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from _pages import write_or_check

from centernet_d2.config import BLOCKS
from centernet_d2.config.rules import Block, Key

FILE = PAGE = Path(__file__).resolve().parents[1] / "docs" / "config.md"
ROW = re.compile(r"^\| `(\w+)` \|.* \| (.*) \|$", re.MULTILINE)


def page() -> str:
    """Return the page."""
    head, *sections = PAGE.read_text(encoding="utf-8").split("\n## ")
    texts = dict(section.split("\n\n", 1) for section in sections)
    return "\n".join([head, *(_section(block, texts.get(block.path, "")) for block in BLOCKS)])


def _section(block: Block, text: str) -> str:
    meanings = dict(ROW.findall(text))
    rows = (_row(key, meanings) for key in block.keys)
    about = text.partition("| key |")[0].strip()
    return (
        f"## {block.path}\n\n{about}\n\n| key | default | allowed | meaning |\n"
        "| --- | --- | --- | --- |\n" + "".join(f"{row}\n" for row in rows)
    )


def _row(key: Key, meanings: dict[str, str]) -> str:
    name, rule = key.name.rpartition(".")[2], key.rule.says.removeprefix("one of ")
    rule = rule.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")
    return f"| `{name}` | `{key.default!r}` | {rule} | {meanings.get(name, '')} |"


def main() -> int:
    """Write or check; return the exit status."""
    status = write_or_check(FILE, page, __doc__)
    if missing := re.findall(
        r"^(?:\| `(\w+)` \|.* \|  \||## ([\w.]+)\n\n\n)$", page(), re.MULTILINE
    ):
        names = ", ".join(key or block for key, block in missing)
        print(f"{FILE}: write there what {names} means", file=sys.stderr)
    return int(status or bool(missing))


if __name__ == "__main__":
    sys.exit(main())
