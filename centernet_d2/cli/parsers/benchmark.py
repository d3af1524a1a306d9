"""Measure speed, memory and size of detectors, stage by stage, on random pixels.

    %(prog)s --config-file Shapes/points_tiny COCO-Detection/points_dla34_140e --batches 1 8
    %(prog)s --runtimes --weights model_final.pth --images photos --threads 2
    taskset -c 0,1 %(prog)s --threads 2 --json output/benchmark.json
    %(prog)s --config-file COCO-Detection/points_dla34_140e --device cuda --amp float16
    %(prog)s --sections soft_nms --short --compare --record

--runtimes compares PyTorch, compiled or not, AOTInductor, onnxruntime and OpenVINO, from pixels to
detections, and ends in which of them to use for each batch on this machine: docs/deployment.md.
In a checkout more can be measured (--sections): the layers and algorithms that the detectors stand
on, against alternatives. Run it on an otherwise idle machine; "spread" is the distance of the
quartiles over the median. --compare holds ratios to a reference of the same run against the last
record of this kind of machine: exit status 1, and the record stays, if one fell twice by 15 %% more
than the spreads explain.
"""

import argparse

from ...checked_values import argument, whole
from ...text_files import expanded, expanded_output
from .common import add

DEFAULT_CONFIGS = [
    "Shapes/points_tiny.yaml",
    "COCO-Detection/points_resnet18_dcn_140e.yaml",
    "COCO-Detection/points_dla34_140e.yaml",
    "COCO-Detection/points_hourglass104_50e.yaml",
    "COCO-Detection/cornernet_hourglass104.yaml",
    "COCO-Detection/triplet_hourglass104.yaml",
]
SHORT_CONFIGS = [*DEFAULT_CONFIGS[:2], "Shapes/cornernet_tiny.yaml"]
RECORDS = "benchmarks/records"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    own, count = parser.add_argument, argument(whole(1))
    help_text = "what to measure; default: all that there is here; an unknown name lists them"
    own("--sections", nargs="+", metavar="SECTION", help=help_text)
    help_text = "every runtime of a detector, whole; the fastest is remembered for --runtime auto"
    own("--runtimes", action="store_true", help=help_text)
    add(parser, "--weights", help="with --runtimes: the detector, a file or a name (bccd)")
    help_text = "with --runtimes: files, folders, patterns; default: generated ones"
    own("--images", nargs="+", default=[], type=expanded, metavar="IMAGE", help=help_text)
    help_text = "detectors; with --runtimes untrained, where there are no --weights"
    own("--config-file", dest="configs", nargs="+", default=[], help=help_text)
    own("--batches", nargs="+", type=count, help="sizes, default 1 2 4 8, of --runtimes 1 8")
    own("--size", nargs=2, type=count, metavar=("HEIGHT", "WIDTH"), help="images")
    own("--rounds", type=count, help="measurements, default 15, with --short 5")
    own("--short", action="store_true", help="fewer cases, and small detectors: a minute a section")
    own("--warm-up", type=argument(whole(0)), help="runs before, default 3, with --short 1")
    own("--device", default="cpu", help="cpu (default), cuda ...")
    own("--threads", type=count, help="of torch on the CPU")
    dtypes = {"default": "", "choices": ["", "bfloat16", "float16"]}
    own("--amp", dest="amp_dtype", **dtypes, help="autocast")
    own("--json", type=expanded_output, help="file for all numbers")
    folder = {"nargs": "?", "const": RECORDS, "type": expanded_output, "metavar": "FOLDER"}
    own("--compare", **folder, help=f"hold ratios against the records in ./{RECORDS} or a folder")
    own("--record", **folder, help="then replace them by what was measured, a file per section")
    add(parser, "--opts")
