r"""Detect objects in images, folders and globs; write pictures and one JSON. Needs no screen.

    %(prog)s --weights model_final.pth \
        --input photos/ "more/**/*.png" --output predictions [--heatmap] [--keypoints]
    %(prog)s --weights points_dla34_3dop --input street.png --output predictions \
        --focal-length 1000

A second call goes on where the first one stopped. An image that cannot be read, or is too large for
TEST.MAX_PIXELS or the memory, is listed in the JSON, the others go on, and the exit status is 1.
"""

from __future__ import annotations

import argparse

from ...checked_values import argument, number, share, whole
from ...text_files import expanded, expanded_output
from .common import add

BOX_FORMATS = ("xyxy", "xywh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add weights, images, what is written, and cameras."""
    add(parser, "--config-file", "--import", "--weights")
    own = parser.add_argument
    help_text = "images, folders, patterns; no videos, but folders of their frames"
    own("--input", nargs="+", required=True, type=expanded, help=help_text)
    help_text = "folder of pictures and predictions.json"
    own("--output", required=True, type=expanded_output, help=help_text)
    own("--score-threshold", type=argument(share), default=0.3, help="0 to 1, default 0.3")
    own("--box-format", choices=BOX_FORMATS, default="xyxy", help="of the JSON")
    own("--batch-size", type=argument(whole(1)), default=8, help="images at once, default 8")
    own("--no-pictures", action="store_true", help="no pictures of detections")
    help_text = "also draw where centers or corners are seen (photo.heatmap.jpg); twice as long"
    own("--heatmap", action="store_true", help=help_text)
    help_text = "mark the corners and centers that boxes were made from"
    own("--keypoints", action="store_true", help=help_text)
    camera = parser.add_mutually_exclusive_group()
    help_text = "of 3-D boxes: calibration file of KITTI's form (P2), or a folder with <image>.txt;"
    help_text += " it is of the pixels as stored, so of images neither resized nor turned by EXIF"
    camera.add_argument("--calibration", type=expanded, help=help_text)
    help_text = "of 3-D boxes: pixels, of a camera that looks at the middle of the image"
    camera.add_argument("--focal-length", type=argument(number(above=0)), help=help_text)
    own("--overwrite", action="store_true", help="predict finished images again")
    add(parser, "--opts")
