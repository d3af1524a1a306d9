"""Runs a verb of `centernet-d2` for a tool of the checkout."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def run(verb: str, arguments: Sequence[str] | None = None) -> None:
    """Run the verb with these arguments, else the process's, and exit with its status."""
    program = sys.argv[0]
    sys.argv[0] = "centernet-d2"  # so that --help answers before torch is imported
    from centernet_d2.cli import main

    given = sys.argv[1:] if arguments is None else arguments
    sys.exit(main([verb, *given], program=program))
