"""Write a detector as one file that other programs run, and prove that it finds the same.

    %(prog)s --weights model_final.pth --format onnx --output model.onnx --images photos
    %(prog)s --weights model_final.pth --format openvino --output model.xml --size 480 640
    %(prog)s --weights model_final.pth --format torch --output model.pt2 --batch 1
    %(prog)s --weights model_final.pth --format aotinductor --output model.pt2
    %(prog)s --weights model_final.pth --format onnx --output network.onnx --split

Pictures as they are (uint8, BGR) go in, and final detections come out: placing, normalising,
peaks, pairs and NMS are in the file, its classes, joints and test protocol in its metadata. Every
output is compared with PyTorch on --images, or on generated pictures; where one differs the file is
removed, and the exit status is 1. docs/deployment.md says what is in each format.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ...checked_values import argument, whole
from ...text_files import expanded, expanded_output
from .common import add

FORMATS = ("onnx", "openvino", "torch", "aotinductor", "tensorrt")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add weights, the file, which pictures it takes, and those to compare on."""
    add(parser, "--config-file", "--import", "--weights")
    own, count = parser.add_argument, argument(whole(1))
    own("--format", choices=FORMATS, default="onnx", help="default: onnx")
    help_text = "the file: .onnx, .xml of openvino (a .bin goes beside it), .pt2 of the others"
    own("--output", required=True, type=lambda g: Path(expanded_output(g)), help=help_text)
    help_text = "pictures to compare on: files, folders, patterns; default: generated ones"
    own("--images", nargs="+", type=expanded, metavar="IMAGE", help=help_text)
    own("--most", type=count, default=8, metavar="N", help="compare on N pictures, default 8")
    help_text = "take pictures of this size alone; default: of any"
    own("--size", nargs=2, type=count, metavar=("HEIGHT", "WIDTH"), help=help_text)
    own("--batch", type=count, help="take so many pictures at once; default: any number")
    help_text = "the network alone: normalised canvas in, raw maps out"
    own("--split", action="store_true", help=help_text)
    own("--overwrite", action="store_true", help="replace an output that is there")
    add(parser, "--opts")
