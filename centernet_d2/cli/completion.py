"""The verb `completion`."""

import argparse

from ..missing import needed_by
from . import full_parser
from .parsers.parser import all_actions

PATHS = ("input", "output", "json", "calibration", "config_file")


def run(args: argparse.Namespace) -> int:
    """Print the script; ImportError where the package that writes it is missing."""
    with needed_by("Completion"):
        import shtab
    parser = full_parser()
    for action in all_actions(parser):
        if action.metavar == "FILE" or action.dest in PATHS:
            action.complete = shtab.FILE
    print(shtab.complete(parser, shell=args.shell))
    return 0
