"""Install detectron2, which is not on the package index, into the Python that runs this.

auto   what is importable stays; else git; where git or its host is missing, pypi
git    the official repository at one pinned commit, as a pure-Python wheel;
       --with-ops compiles its C++ part too (a compiler is needed, minutes)
pypi   the Python files of release 0.5 from the package index (an archive of a third party, pinned
       by sha256; they are those of the official tag v0.5, byte by byte), with the edits that
       today's Python, numpy and Pillow need
"""

import argparse
from pathlib import Path

from ...installation.detectron2 import SOURCES
from ...installation.sources import REPOSITORY


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", choices=SOURCES, default="auto")
    parser.add_argument("--repository", default=REPOSITORY, help="URL or local path, for git")
    parser.add_argument("--with-ops", action="store_true", help="compile the C++ part (git only)")
    parser.add_argument("--wheel-dir", type=Path, help="keep the wheel in this folder")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
