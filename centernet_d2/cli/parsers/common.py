"""Arguments that several verbs take."""

import argparse
import os
import sys
from typing import Any

from ...text_files import expanded

CONFIG = "YAML of the detector: a file, or the name of a shipped one (Shapes/points_tiny)"
_CARRIED = f"{CONFIG}; default: the config that the weights carry"
_IMPORT = (
    "import my_package.my_module (installed, or below the current folder) or path/to/file.py "
    "before the config is read, in every process; may be given several times; what it registers "
    "can be named in the config, and its add_config(cfg), if it has one, adds config keys"
)
_WEIGHTS = "a file of weights or a model by its name (bccd); default: MODEL.WEIGHTS"
RUNTIME = "what computes: onnxruntime, openvino, folded ...; auto: the fastest here, measured once"
_RESULTS = "detections in files, of any program: COCO, VOC, KITTI, YOLO, predictions.json"
_DATASET = "what they are of, as DATASETS.TEST has it: coco:my/val.json:my/images"
_OVERRIDES = {"nargs": argparse.REMAINDER, "metavar": "KEY VALUE"}
_OVERRIDES |= {"help": "last: config overrides KEY VALUE ..."}
# Each user's own port, so that a process that was left behind is noticed as one in use.
_PORT = 2**15 + 2**14 + hash(os.getuid() if sys.platform != "win32" else 1) % 2**14
_MEET = "where the processes meet; of several machines the first one's address"
_FILE = {"default": "", "metavar": "FILE"}
_FLAG = {"action": "store_true"}

ARGUMENTS: dict[str, dict[str, Any]] = {
    "--config-file": _FILE | {"help": _CARRIED},
    "--import": {"dest": "imports", "action": "append", "default": [], "metavar": "MODULE"}
    | {"help": _IMPORT},
    "--weights": _FILE | {"type": expanded, "help": _WEIGHTS},
    "--results": _FILE | {"type": expanded, "help": _RESULTS},
    "--dataset": {"default": "", "metavar": "SPEC", "help": _DATASET},
    "opts": _OVERRIDES,  # all that follows
    "--opts": _OVERRIDES | {"default": []},  # all that follows it
    # The arguments of detectron2's `default_argument_parser` that start processes.
    "--num-gpus": {"type": int, "default": 1, "help": "processes on this machine"},
    "--num-machines": {"type": int, "default": 1, "help": "machines of the job"},
    "--machine-rank": {"type": int, "default": 0, "help": "which machine this is, from 0"},
    "--dist-url": {"default": f"tcp://127.0.0.1:{_PORT}", "help": _MEET},
    # Of every verb.
    "--traceback": _FLAG | {"help": "show where an error arose, and not its sentence alone"},
    "--verbose": _FLAG | {"help": "show on the terminal all that is said, as the log file has it"},
}
JOB = ("--num-gpus", "--num-machines", "--machine-rank", "--dist-url")


def add(parser: argparse.ArgumentParser, *names: str, **other: Any) -> None:
    """Let a verb take arguments of the table; `other` replaces what stands there."""
    for name in names:
        parser.add_argument(name, **ARGUMENTS[name] | other)
