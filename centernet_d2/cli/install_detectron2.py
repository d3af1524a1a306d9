"""`centernet-d2 install-detectron2`: needs neither torch nor detectron2."""

import argparse

from ..installation.detectron2 import install


def run(args: argparse.Namespace) -> int:
    """Install; InstallError, with the cure, where detectron2 does not import in the end."""
    given = ("source", "repository", "with_ops", "wheel_dir", "dry_run")
    install(**{name: getattr(args, name) for name in given})
    return 0
