r"""What detections show, and what the papers ask of a trained detector.

    %(prog)s oracle --config-file Shapes/triplet_tiny --weights model_final.pth \
        --substitute heatmaps --substitute heatmaps offsets --substitute centers --output oracle
    %(prog)s oracle --config-file Shapes/points_tiny --weights model_final.pth \
        --substitute size --substitute heatmap --substitute heatmap size offset
    %(prog)s corner-quadrants --config-file Shapes/cornernet_tiny \
        --weights model_final.pth --radius 8
    %(prog)s collisions --dataset coco:my/train.json:my/images --output collisions
    %(prog)s report --results predictions.json --dataset coco:my/val.json:my/images --output report
    %(prog)s plot --runs mine=output/plain mine=output/flip others.csv --reference --output plot
    %(prog)s pictures --weights a.pth b.pth --dataset coco:my/val.json:my/images --output pictures
    %(prog)s pictures --weights pose.pth pose.pth --names jd reg --output pictures \
        --opts-b MODEL.POINTS_CENTERNET.POSE.SNAPPING none

`report` writes report.html on detections of any program, as a training does (docs/report.md).
`pictures` draws one or two models beside the truth, the worst pictures first, with a page.
`oracle` evaluates with ground truth in place of predictions, one row per --substitute beside the
detector itself: `heatmaps offsets centers` of the corner detectors, `heatmap size offset` of the
points detector, and what its tasks `pose` and `box3d` predict. `corner-quadrants` tells how well
corners are found, and where. Both read DATASETS.TEST; crowd regions are left out of the ground
truth. `collisions` needs no weights: it counts objects of one class whose centers share a cell of
the output, that overlap, and that no anchor of a two-stage detector fits.
"""

import argparse

from ...checked_values import argument, share, weight, whole
from ...text_files import expanded, output_folder
from .common import add

OF_CORNERS = ("heatmaps", "offsets", "centers")
OF_POINTS = ("heatmap", "size", "offset")
OF_POINTS += ("joint_displacement", "joint_heatmap", "joint_offset")
OF_POINTS += ("depth", "dimensions", "orientation")
SUBSTITUTES = (*OF_CORNERS, *OF_POINTS)


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
    collisions = commands.add_parser("collisions", help="objects that share a center or overlap")
    own = collisions.add_argument
    add(collisions, "--dataset")
    help_text = "pixels per cell of the output, default 4"
    own("--stride", type=argument(whole(1)), default=4, help=help_text)
    help_text = "pairs that overlap more, default 0.5 0.7"
    own("--iou", nargs="+", type=argument(share), default=[0.5, 0.7], help=help_text)
    own("--crowds", action="store_true", help="a region of a crowd is an object too")
    help_text = "boxes of whole pixels: one from pixel 3 to 5 is 3 wide"
    own("--plus-one", action="store_true", help=help_text)
    add_plot(commands.add_parser("plot", help="accuracy against speed of any runs, a figure"))
    pictures = commands.add_parser("pictures", help="detections against truth, side by side")
    add_pictures(pictures)
    for command in (oracle, quadrants, report, collisions, pictures):
        if command is pictures:
            add(command, "--config-file")
        elif command in (report, collisions):  # there is no model
            add(command, "--config-file", help="YAML with the keys of DATASETS and TEST, or none")
        else:
            add(command, "--config-file", "--weights")
        add(command, "--import")
        help_text = "folder of what is written; default OUTPUT_DIR/analysis"
        told = {"help": help_text} if command is not pictures else {"required": True}
        command.add_argument("--output", type=output_folder, **told)
        add(command, "--traceback", "--verbose", default=argparse.SUPPRESS)
        add(command, "--opts")


def add_plot(parser: argparse.ArgumentParser) -> None:
    own = parser.add_argument
    help_text = "of `evaluate --timing`, of one NAME joined; or tables with name, ms or fps, AP"
    own("--runs", nargs="+", default=[], metavar="[NAME=]FOLDER", help=help_text)
    known = {"nargs": "?", "const": "coco", "choices": ("coco", "voc")}
    own("--reference", **known, help="beside them what the papers measured; default coco")
    own("--metric", default="bbox/AP", help="task/score, default bbox/AP")
    own("--rate", action="store_true", help="pictures per second, not milliseconds per picture")
    own("--output", type=output_folder, help="folder of what is written; default output/plot")


def add_pictures(parser: argparse.ArgumentParser) -> None:
    several = {"nargs": "+", "default": [], "type": expanded, "metavar": "FILE"}
    add(parser, "--weights", **several, help="one model or two, with their own configs")
    add(parser, "--results", **several)
    add(parser, "--dataset")
    own = parser.add_argument
    own("--names", nargs="+", metavar="NAME", help="titles of the models")
    help_text = "overrides of the second weights alone, which may be the first ones again"
    own("--opts-b", nargs="+", default=[], metavar="KEY VALUE", help=help_text)
    own("--most", type=argument(whole(1)), default=50, help="pictures, default 50")
    help_text = "default worst (of the first model), of two models differ"
    own("--order", choices=("worst", "differ", "best", "file"), help=help_text)
    own("--images", nargs="+", metavar="NAME", help="only these: ids, or ends of file names")
    help_text = "0 to 1, default 0.3: what scores less is no detection"
    own("--score-threshold", type=argument(share), default=0.3, help=help_text)
    own("--max-detections", type=argument(whole(1)), metavar="N", help="in one picture, the best")
    help_text = "in a panel of its own, or over the detections of each model"
    own("--truth", choices=("beside", "over"), default="beside", help=help_text)
    own("--heatmaps", action="store_true", help="draw on the heatmaps of centers or corners")
    own("--keypoints", action="store_true", help="mark the corners and centers boxes are made of")
