"""Pages that are written from the code: written, or checked to be in step with it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path


def write_or_check(file: Path, page: Callable[[], str], description: str | None) -> int:
    """Write a page or, with --check, say whether it is in step; return the exit status."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="only say whether it is in step")
    if not parser.parse_args().check:
        file.write_text(page(), encoding="utf-8")
        print(file)
        return 0
    if file.is_file() and file.read_text(encoding="utf-8") == page():
        return 0
    print(
        f"{file} is not in step with the code; run tools/{Path(sys.argv[0]).name}", file=sys.stderr
    )
    return 1
