"""The verb `check`."""

from __future__ import annotations

import argparse

from ..check import main


def run(args: argparse.Namespace) -> int:
    """Report; exit status 1 where something is broken."""
    return main()
