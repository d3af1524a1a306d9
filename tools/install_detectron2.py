#!/usr/bin/env python3
"""`centernet-d2 install-detectron2` of a checkout, also where nothing is installed yet."""

import sys
from pathlib import Path

from _command import run

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    run("install-detectron2")
