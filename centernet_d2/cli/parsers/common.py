"""Arguments that several verbs take."""

from __future__ import annotations

import argparse
import os
import sys

from ...text_files import expanded


def add_config_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Let a verb take a config and modules of one's own."""
    help_text = "YAML of the detector: a file, or the name of a shipped one (Shapes/points_tiny)"
    help_text += "" if required else "; default: the config that the weights carry"
    given = {"required": required, "default": "", "metavar": "FILE"}
    parser.add_argument("--config-file", **given, help=help_text)
    add_import_argument(parser)


def add_weights_argument(parser: argparse.ArgumentParser) -> None:
    """Let a verb take weights."""
    help_text = "a file of weights or a name of the model zoo; default: MODEL.WEIGHTS"
    parser.add_argument("--weights", type=expanded, default="", metavar="FILE", help=help_text)


def add_import_argument(parser: argparse.ArgumentParser) -> None:
    """Let a verb take modules of one's own, as `args.imports`; see `engine.user_modules`."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import my_package.my_module (installed, or below the current folder) or "
        "path/to/file.py before the config is read, in every process; may be given several times; "
        "what it registers can be named in the config, and its add_config(cfg), if it has one, "
        "adds config keys",
    )


def add_overrides(parser: argparse.ArgumentParser, option: str = "opts") -> None:
    """Let a verb take config overrides: all that follows, or follows `option`."""
    option_text = {} if option == "opts" else {"default": []}
    parser.add_argument(
        option,
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help="last: config overrides KEY VALUE ...",
        **option_text,
    )


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a verb start processes: the arguments of detectron2's `default_argument_parser`."""
    parser.add_argument("--num-gpus", type=int, default=1, help="processes on this machine")
    parser.add_argument("--num-machines", type=int, default=1, help="machines of the job")
    help_text = "which of the machines this is, from 0"
    parser.add_argument("--machine-rank", type=int, default=0, help=help_text)
    # Each user's own port, so that a process that was left behind is noticed as one in use.
    port = 2**15 + 2**14 + hash(os.getuid() if sys.platform != "win32" else 1) % 2**14
    parser.add_argument(
        "--dist-url",
        default=f"tcp://127.0.0.1:{port}",
        help="where the processes meet; of several machines the first one's address",
    )
