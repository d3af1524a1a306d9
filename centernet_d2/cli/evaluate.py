"""The verb `evaluate`: a training's last part alone."""

from __future__ import annotations

import argparse

from . import train


def run(args: argparse.Namespace) -> int:
    """Evaluate; return the exit status."""
    return train.run(args)
