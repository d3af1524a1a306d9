"""`centernet-d2 install-detectron2`: needs neither torch nor detectron2."""

from __future__ import annotations

import argparse

from ..installation.detectron2 import install


def run(args: argparse.Namespace) -> int:
    """Exit status: 0 where detectron2 imports in the end.

    Raises:
        InstallError: it does not; the message says why, and what to do.
    """
    install(
        args.source,
        repository=args.repository,
        with_ops=args.with_ops,
        wheel_dir=args.wheel_dir,
        dry_run=args.dry_run,
    )
    return 0
