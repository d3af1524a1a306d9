r"""What detections show, and what the papers ask of a trained corner detector.

    %(prog)s oracle --config-file Shapes/triplet_tiny --weights model_final.pth \
        --substitute heatmaps --substitute heatmaps offsets --substitute centers --output oracle
    %(prog)s corner-quadrants --config-file Shapes/cornernet_tiny \
        --weights model_final.pth --radius 8
    %(prog)s report --results predictions.json --dataset coco:my/val.json:my/images --output report

`report` writes report.html on detections of any program, as a training does (docs/report.md).
`oracle` evaluates with ground truth in place of predictions, one row per --substitute beside the
detector itself; `corner-quadrants` tells how well corners are found, and where. Both read
DATASETS.TEST; crowd regions are left out of the ground truth.
"""

import argparse

from ...checked_values import argument, weight
from ...text_files import output_folder
from .common import add

SUBSTITUTES = ("heatmaps", "offsets", "centers")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="analysis", required=True)
    oracle = commands.add_parser("oracle", help="scores with ground truth in place of predictions")
    several = {"nargs": "+", "action": "append", "required": True, "choices": SUBSTITUTES}
    help_text = "what is told in one row; may be given several times"
    oracle.add_argument("--substitute", **several, help=help_text)
    quadrants = commands.add_parser("corner-quadrants", help="mAP of corners by quadrant")
    help_text = "pixels within which a corner is right, default 8"
    quadrants.add_argument("--radius", type=argument(weight), default=8.0, help=help_text)
    report = commands.add_parser("report", help="a page on detections of any program")
    add(report, "--results", required=True)
    add(report, "--dataset")
    for command in (oracle, quadrants, report):
        if command is report:  # there is no model
            add(command, "--config-file", help="YAML with the keys of DATASETS and TEST, or none")
        else:
            add(command, "--config-file", "--weights")
        add(command, "--import")
        help_text = "folder of what is written; default OUTPUT_DIR/analysis"
        command.add_argument("--output", type=output_folder, help=help_text)
        add(command, "--opts")
