"""Measure speed, memory and size of detectors, stage by stage, on random pixels.

    %(prog)s --config-file Shapes/points_tiny COCO-Detection/points_dla34_140e --batches 1 8
    taskset -c 0,1 %(prog)s --threads 2 --json output/benchmark.json
    %(prog)s --config-file COCO-Detection/points_dla34_140e --device cuda --amp float16

In a checkout more can be measured (--sections): the layers and algorithms that the detectors stand
on, against alternatives. Run it on an otherwise idle machine; "spread" is the distance of the
quartiles over the median.
"""

import argparse

from ...checked_values import argument, whole
from ...text_files import expanded_output
from .common import add

DEFAULT_CONFIGS = [
    "Shapes/points_tiny.yaml",
    "COCO-Detection/points_resnet18_dcn_140e.yaml",
    "COCO-Detection/points_dla34_140e.yaml",
    "COCO-Detection/points_hourglass104_50e.yaml",
    "COCO-Detection/cornernet_hourglass104.yaml",
    "COCO-Detection/triplet_hourglass104.yaml",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    own, count = parser.add_argument, argument(whole(1))
    help_text = "what to measure; default: all that there is here"
    own("--sections", nargs="+", metavar="SECTION", help=help_text)
    own("--config-file", dest="configs", nargs="+", default=DEFAULT_CONFIGS, help="detectors")
    own("--batches", nargs="+", type=count, default=[1, 2, 4, 8], help="batch sizes")
    own("--size", nargs=2, type=count, metavar=("HEIGHT", "WIDTH"), help="images")
    own("--rounds", type=count, default=15, help="measurements, default 15")
    own("--warm-up", type=argument(whole(0)), default=3, help="runs before, default 3")
    own("--device", default="cpu", help="cpu (default), cuda ...")
    own("--threads", type=count, help="of torch on the CPU")
    dtypes = {"default": "", "choices": ["", "bfloat16", "float16"]}
    own("--amp", dest="amp_dtype", **dtypes, help="autocast")
    own("--json", type=expanded_output, help="file for all numbers")
    add(parser, "--opts")
