"""Find all that is wrong with data, without training.

    %(prog)s coco:my/train.json:my/images coco:my/val.json:my/images
    %(prog)s voc:my/voc:trainval --html data.html --fix my/fixed
    %(prog)s my/export                          # all splits, and leaks between them
    %(prog)s --config-file my.yaml              # what it trains and is evaluated on
    %(prog)s shapes_train --config-file Shapes/points_tiny --json output/data.json

Prints a table of images, objects and classes, then all findings: errors, at which a training would
stop or learn what is wrong (exit status 1), warnings and notes. With a config also how large
objects are for the network, in training after the augmentation of 100 images.
"""

import argparse

from ...text_files import output_file, output_folder
from .common import add

LEVELS = ("none", "exist", "ends", "header", "bytes", "decode")  # of DATASETS.CHECK_IMAGES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    help_text = "coco:<json>:<images>, voc:<folder>:<split> ..., or a registered name; default: all"
    parser.add_argument("datasets", nargs="*", help=f"{help_text} of the config")
    add(parser, "--config-file", help="YAML of a training, or the name of a shipped config")
    add(parser, "--import")
    help_text = "how closely to look at image files; default: DATASETS.CHECK_IMAGES, or ends"
    parser.add_argument("--images", choices=LEVELS, help=help_text)
    file = {"type": output_file, "metavar": "FILE"}
    parser.add_argument("--json", **file, help="for all of it")
    parser.add_argument("--html", **file, help="a page with charts and pictures")
    help_text = "a new folder for a corrected copy in COCO's form, with a list of the repairs"
    parser.add_argument("--fix", type=output_folder, metavar="FOLDER", help=help_text)
    parser.add_argument("--copy", action="store_true", help="--fix copies images, not hard links")
    add(parser, "--opts")
