"""A page in the browser to try detectors on pictures; nothing leaves this machine.

    %(prog)s                                       # the model in the package, and runs in output/
    %(prog)s --weights model_final.pth bccd --examples photos
    %(prog)s --weights model_final.pth --model model.onnx --port 8000

Drop, paste or film a picture, choose a model and a lowest score: boxes, joints, boxes in space,
heatmaps, a table, and the detections as JSON. The page is at http://127.0.0.1:7860, for this
machine alone; --host 0.0.0.0 lets others in, without a password. Ctrl-C ends it.
`pip install 'centernet-d2[app]'` brings what it needs.
"""

from __future__ import annotations

import argparse

from ...checked_values import argument, whole
from ...text_files import expanded
from .common import add

PORT = 7860


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add models, example pictures and the address."""
    add(parser, "--import")
    own = parser.add_argument
    help_text = "files of weights, or models by their names; default: all that is here"
    own("--weights", nargs="+", type=expanded, default=[], metavar="WEIGHTS", help=help_text)
    help_text = "files of `centernet-d2 export`: .onnx, or .xml of OpenVINO"
    own("--model", nargs="+", type=expanded, default=[], metavar="FILE", help=help_text)
    help_text = "folder of pictures to click on; default: generated ones"
    own("--examples", type=expanded, metavar="FOLDER", help=help_text)
    port = argument(whole(0, 65535))
    own("--port", type=port, default=PORT, help=f"default {PORT}; 0: one that is free")
    own("--host", default="127.0.0.1", help="default 127.0.0.1: this machine alone")
    add(parser, "--opts")
