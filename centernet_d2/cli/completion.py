"""The verb `completion`."""

from __future__ import annotations

import argparse

from . import full_parser


def run(args: argparse.Namespace) -> int:
    """Print the script; ImportError where the package that writes it is missing."""
    try:
        import shtab
    except ImportError as error:
        raise ImportError("Completion needs the package shtab: pip install shtab.") from error
    print(shtab.complete(full_parser(), shell=args.shell))
    return 0
