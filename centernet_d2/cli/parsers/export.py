r"""Write a detector as one file that other programs run, and prove that it finds the same.

    %(prog)s --weights model_final.pth --format onnx --output model.onnx --images photos
    %(prog)s --weights model_final.pth --format openvino --output model.xml --size 480 640
    %(prog)s --weights model_final.pth --format torch --output model.pt2 --batch 1
    %(prog)s --weights model_final.pth --format aotinductor --output model.pt2
    %(prog)s --weights model_final.pth --format onnx --output network.onnx --split
    %(prog)s --weights model_final.pth --format openvino --output model.xml --precision int8 \
        --calibrate photos --check-on voc:my/Annotations:my/images

Pictures as they are (uint8, BGR) go in, and final detections come out: placing, normalising,
peaks, pairs and NMS are in the file, its classes, joints and test protocol in its metadata. Every
output is compared with PyTorch on --images, or on generated pictures; where one differs the file is
removed, and the exit status is 1. Files of less --precision are not equal: they are judged by the
AP that they lose on --check-on or, without it, by the detections that they share with PyTorch.
docs/deployment.md says what is in each format, and what each precision brings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ...checked_values import argument, number, whole
from ...text_files import expanded, output_file
from .common import add

FORMATS = ("onnx", "openvino", "torch", "aotinductor")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add weights, the file, which pictures it takes, and those to compare on."""
    add(parser, "--config-file", "--import", "--weights")
    own, count = parser.add_argument, argument(whole(1))
    # Of tensorrt an error says how its engines are made.
    form = {"choices": (*FORMATS, "tensorrt"), "metavar": f"{{{','.join(FORMATS)}}}"}
    own("--format", **form, default="onnx", help="default: onnx")
    help_text = "the file: .onnx, .xml of openvino (a .bin goes beside it), .pt2 of the others"
    own("--output", required=True, type=lambda g: Path(output_file(g)), help=help_text)
    help_text = "compare on these files, folders, patterns; default: --calibrate, or generated ones"
    own("--images", nargs="+", type=expanded, metavar="IMAGE", help=help_text)
    own("--most", type=count, default=8, metavar="N", help="compare on N pictures, default 8")
    help_text = "take pictures of this size alone; default: of any"
    own("--size", nargs=2, type=count, metavar=("HEIGHT", "WIDTH"), help=help_text)
    own("--batch", type=count, help="take so many pictures at once; default: any number")
    help_text = "the network alone: normalised canvas in, raw maps out"
    own("--split", action="store_true", help=help_text)
    own("--overwrite", action="store_true", help="replace an output that is there")
    own(
        "--precision",
        choices=("fp32", "fp16", "bf16", "int8"),
        default="fp32",
        help="default: fp32",
    )
    help_text = "pictures that int8 is calibrated on, a folder as a rule; default: --images"
    own("--calibrate", nargs="+", type=expanded, metavar="IMAGE", help=help_text)
    most = argument(whole(8))  # export.precision.LEAST
    own("--calibrate-most", type=most, default=100, metavar="N", help="on N of them, default 100")
    help_text = "score the file and PyTorch, as DATASETS.TEST has it: voc:my/Annotations:my/images"
    own("--check-on", default="", metavar="SPEC", help=help_text)
    help_text = "refuse a file that loses more AP there; default: 1"
    own("--max-loss", type=argument(number(0)), metavar="AP", help=help_text)
    add(parser, "--opts")
