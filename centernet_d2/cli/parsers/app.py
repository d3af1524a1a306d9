"""A page in the browser to try detectors on pictures; nothing leaves this machine. Ctrl-C ends it.

    %(prog)s                               # the model in the package, and runs in output/
    %(prog)s --weights model_final.pth bccd --model model.onnx --examples photos --port 8000

docs/app.md says what it shows, and its limits.
"""

import argparse

from ...checked_values import argument, whole
from ...text_files import expanded
from .common import add


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, "--import")
    own, several = parser.add_argument, {"nargs": "+", "type": expanded, "default": []}
    help_text = "files of weights, or models by their names; default: all that is here"
    own("--weights", metavar="WEIGHTS", help=help_text, **several)
    own("--model", metavar="FILE", help="exported files: .onnx, or .xml of OpenVINO", **several)
    help_text = "folder whose first 12 pictures can be clicked on; default: generated ones"
    own("--examples", type=expanded, metavar="FOLDER", help=help_text)
    own("--port", type=argument(whole(0, 65535)), default=7860, help="default 7860; 0: a free one")
    help_text = "default 127.0.0.1, this machine alone; 0.0.0.0 lets all in, without a password"
    own("--host", default="127.0.0.1", help=help_text)
    add(parser, "--opts")
