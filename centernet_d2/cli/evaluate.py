"""The verb `evaluate`: a training's last part alone."""

from __future__ import annotations

import argparse

from . import train


def run(args: argparse.Namespace) -> int:
    """Evaluate; return the exit status."""
    if args.weights:
        args.opts = ["MODEL.WEIGHTS", args.weights, *args.opts]
    return train.run(args)
