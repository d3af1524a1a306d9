#!/usr/bin/env python3
"""Write docs/config.md from the table of keys in centernet_d2.config.

With --check nothing is written, and the exit status is 1 where it is not in step.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from centernet_d2.config.page import page

FILE = Path(__file__).resolve().parents[1] / "docs" / "config.md"


def main() -> int:
    """Write or check; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="only say whether it is in step")
    if not parser.parse_args().check:
        FILE.write_text(page(), encoding="utf-8")
        print(FILE)
        return 0
    if FILE.is_file() and FILE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{FILE} is not in step with the table; run tools/make_config_page.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
