"""The verb `reproduce`: tables of the papers, from one command."""

import argparse

from ..engine.terminal import start_logging
from . import reproduce_published


def run(args: argparse.Namespace) -> int:
    start_logging(verbose=args.verbose)
    return STUDIES[args.study](args)


def ablations(args: argparse.Namespace) -> int:
    raise NotImplementedError


STUDIES = {"ablations": ablations, "published": reproduce_published.run}
