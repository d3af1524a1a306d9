#!/usr/bin/env python3
"""Write docs/config.md from the table of keys in centernet_d2.config.

With --check nothing is written, and the exit status is 1 where it is not in step.
"""

from __future__ import annotations

import sys
from pathlib import Path

from _pages import write_or_check

from centernet_d2.config import BLOCKS
from centernet_d2.config.rules import Block, Key

FILE = Path(__file__).resolve().parents[1] / "docs" / "config.md"


HEAD = """# Config keys

<!-- Written by tools/make_config_page.py from centernet_d2/config; edit the table there. -->

Beside these, [detectron2's keys](https://detectron2.readthedocs.io/modules/config.html)
`MODEL.WEIGHTS`, `MODEL.DEVICE`, `MODEL.PIXEL_*`, `MODEL.BACKBONE`, `DATASETS`, `DATALOADER`,
`SOLVER`, `TEST.EVAL_PERIOD`, `TEST.DETECTIONS_PER_IMAGE` and the like mean what they do there. One
that nothing here reads (`INPUT.RANDOM_FLIP`, `MODEL.ROI_HEADS` ...) is refused when it is set, with
the key to use instead. A misspelt key is answered with the nearest ones, a value with what is
allowed. Keys of your own are added by functions that are given as `add_keys`.

A file is YAML in UTF-8 or, with a byte order mark, UTF-16. Beyond YAML's own rules a key twice, an
empty file and a circle of `_BASE_` are errors, `1e-4` is a number, and a date is a text. "~" and
`$NAME` are expanded in `OUTPUT_DIR`, `MODEL.WEIGHTS`, `DATASETS` and `_BASE_` as a shell does, but
for what exists under its name as it stands.

```python
cfg = centernet_d2.load_config("configs/a.yaml", ["SOLVER.IMS_PER_BATCH", 8], add_keys=[add_mine])
centernet_d2.setup(cfg)
```
"""


def page() -> str:
    """Return the page."""
    parts = [HEAD, *map(_section, BLOCKS)]
    return "\n".join(parts)


def _section(block: Block) -> str:
    rows = "\n".join(map(_row, block.keys))
    return (
        f"## {block.path}\n\n{_text(block.about)}\n\n| key | default | allowed | meaning |\n"
        f"| --- | --- | --- | --- |\n{rows}\n"
    )


def _row(key: Key) -> str:
    name = key.name.rpartition(".")[2]
    rule = _text(key.rule.says).removeprefix("one of ")
    return f"| `{name}` | `{key.default!r}` | {rule} | {_text(key.doc)} |"


def _text(words: str) -> str:
    return words.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def main() -> int:
    """Write or check; return the exit status."""
    return write_or_check(FILE, page, __doc__)


if __name__ == "__main__":
    sys.exit(main())
