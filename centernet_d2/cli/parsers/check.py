"""Say what is installed, whether it works, and how to cure what does not.

    %(prog)s

The exit status is 1 where something that is needed is broken.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add none."""
