r"""Draw what the model is given in training: images after augmentation, boxes, joints, targets.

    %(prog)s --config-file Shapes/points_tiny --output output/data
    %(prog)s --config-file Shapes/pose_tiny --output output/data
    %(prog)s --config-file COCO-Detection/points_resnet18_dcn_140e \
        --output output/data --heatmaps --repeat 3 \
        DATASETS.TRAIN coco:my/train.json:my/images MODEL.HEATMAP.NUM_CLASSES 0

With --heatmaps the picture is the network's own input, on its canvas and without the normalisation,
and beside it stand the heatmaps that it is to learn. 3-D boxes are also drawn from above.
"""

import argparse

from ...checked_values import argument, whole
from ...text_files import expanded_output
from .common import CONFIG, add


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, "--config-file", required=True, help=CONFIG)
    add(parser, "--import")
    parser.add_argument("--output", required=True, type=expanded_output, help="for the pictures")
    parser.add_argument("--heatmaps", action="store_true", help="draw the target heatmaps beside")
    for name, least, default, what in (
        ("count", 1, 20, "images"),
        ("repeat", 1, 1, "augmentations of each"),
        ("seed", 0, 0, "of the augmentation"),
    ):
        known = {"default": default, "help": f"{what}, default {default}"}
        parser.add_argument(f"--{name}", type=argument(whole(least)), **known)
    add(parser, "opts")
