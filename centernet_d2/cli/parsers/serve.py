"""Serve a detector over HTTP: pictures in, JSON or drawn pictures out.

    %(prog)s --model model.onnx                 # of `centernet-d2 export`, or .xml of OpenVINO
    %(prog)s --weights model_final.pth --device cuda
    curl --data-binary @photo.jpg http://127.0.0.1:8000/detect

Requests that come at once go through the network together. SIGTERM answers what was accepted, and
ends with exit status 0. docs/serving.md lists endpoints, limits and metrics.
"""

import argparse

from ...runtime.serving import Options
from ...text_files import expanded
from .common import add


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, "--config-file", "--import", "--weights")
    own = parser.add_argument
    own("--model", type=expanded, metavar="FILE", help="an exported file, in place of --weights")
    own("--device", default="cpu", help="of --weights: cpu (default), cuda ...")
    Options.add_to(parser)
    add(parser, "--opts")
