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
from ...text_files import output_folder
from .common import CONFIG, add


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, "--config-file", required=True, help=CONFIG)
    add(parser, "--import")
    own, number = parser.add_argument, argument(whole(1))
    own("--output", required=True, type=output_folder, help="for the pictures")
    own("--heatmaps", action="store_true", help="draw the target heatmaps beside")
    own("--count", type=number, default=20, help="images, default 20")
    own("--repeat", type=number, default=1, help="augmentations of each, default 1")
    own("--seed", type=argument(whole(0)), default=0, help="of the augmentation, default 0")
    add(parser, "opts")
