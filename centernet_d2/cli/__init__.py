"""The command `centernet-d2`: a verb for each thing that is done from a shell.

`parsers/<verb>.py` says what a verb takes and imports nothing heavy, so that --help answers at
once; `<verb>.py`, imported when the arguments are right, does it: `run(args) -> exit status`.

Exit statuses: 0 done; 1 it failed, or part of it, as the last line says; 2 wrong usage; 130, 143
and 129 stopped by SIGINT (Ctrl-C), SIGTERM and SIGHUP.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from .. import __version__, quiet, require
from ..allocator import keep_memory
from ..checked_values import nearest
from ..threads import fit_threads
from .parsers.common import add
from .parsers.parser import Parser

VERBS = (
    *("train", "evaluate", "predict", "check-data", "visualize-data", "convert", "export", "app"),
    *("serve", "analyze", "reproduce", "benchmark", "models", "demo", "check"),
    *("install-detectron2", "completion"),
)
# Verbs that run where torch or detectron2 is broken.
BEFORE_TORCH = ("check", "install-detectron2", "completion")


def main(arguments: Sequence[str] | None = None, *, program: str = "") -> int:
    """Run a verb and return the exit status.

    Args:
        arguments: the verb and what it takes; None: those of this process.
        program: what usage calls a verb, where a tool of a checkout stands for it.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0].startswith("-"):
        full_parser().parse_args(given or ["--help"])  # --help, --version, or a wrong option
    verb, *rest = given
    if verb not in VERBS:
        full_parser().error(f"'{verb}' is no verb{nearest(verb, VERBS)}")
    args = parse(verb, rest, program=program)
    try:
        return run(verb, args)
    except (Exception, KeyboardInterrupt) as error:
        from .faults import report

        return report(verb, error, trace=args.traceback)


def parse(verb: str, arguments: Sequence[str], *, program: str = "") -> argparse.Namespace:
    """Parse what follows a verb.

    Returns:
        The values, and as `command` the program's words and `arguments`, to be typed again.
    """
    module = _module(verb, "parsers.")
    parser = Parser(prog=program or f"centernet-d2 {verb}", description=module.__doc__)
    _fill(parser, module)
    parser.check_options(arguments)
    # Only where overrides stand between options; it cannot be done with all that follows them.
    intermixed = getattr(module, "INTERMIXED", False)
    args = (parser.parse_intermixed_args if intermixed else parser.parse_args)(arguments)
    parser.check_overrides(getattr(args, "opts", ()))
    words = [sys.executable, program] if program else ["centernet-d2", verb]
    if not program and os.path.basename(sys.argv[0]) == "__main__.py":
        words[:1] = [sys.executable, "-m", "centernet_d2"]
    args.command = (words, list(arguments))
    return args


def run(verb: str, args: argparse.Namespace) -> int:
    """Do what a verb says, once its arguments are parsed; return the exit status."""
    fit_threads(measured=verb == "benchmark")  # before torch is imported
    keep_memory()
    quiet.hold_back()
    if verb not in BEFORE_TORCH:
        require()
    return _module(verb).run(args)


def full_parser() -> argparse.ArgumentParser:
    """Build the parser of all verbs, of which --help and the completion are made."""
    parser = Parser(
        prog="centernet-d2",
        description="Detectors that find objects as keypoints: CornerNet, CenterNet.",
        epilog="`centernet-d2 VERB --help` has examples and every option.",
    )
    parser.add_argument("--version", action="version", version=f"centernet_d2 {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        module = _module(verb, "parsers.")
        what = str(module.__doc__).partition("\n")[0].replace("%", "%%")
        _fill(verbs.add_parser(verb, help=what), module)
    return parser


def _fill(parser: argparse.ArgumentParser, module: Any) -> None:
    module.add_arguments(parser)
    add(parser, "--traceback", "--verbose")


def _module(verb: str, room: str = "") -> Any:
    return importlib.import_module(f"{__name__}.{room}{verb.replace('-', '_')}")
