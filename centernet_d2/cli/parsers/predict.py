r"""Detect objects in images, videos, folders, globs, cameras and streams. Needs no screen.

    %(prog)s --weights bccd --input smear.jpg --output found     # blood cells: in this package
    %(prog)s --weights model_final.pth \
        --input photos/ "more/**/*.png" --output predictions [--heatmap] [--keypoints]
    %(prog)s --weights model_final.pth --input photos --output predictions \
        --format coco csv yolo labelme --classes person dog --max-detections 20
    %(prog)s --weights model_final.pth --input clip.mp4 camera:0 rtsp://host/live \
        --output predictions --frames 0:300:2 --track
    %(prog)s --weights model_final.pth --input aerial.tif --output predictions --tiles 512
    %(prog)s --weights points_dla34_3dop --input street.png --output predictions \
        --focal-length 1000

Pictures of detections and predictions.json are written, of a video clip.mp4 and clip.frames.json.
A second call goes on where the first one stopped. An image that cannot be read, or is too large for
TEST.MAX_PIXELS or the memory, is listed in the JSON, the others go on, and the exit status is 1.
"""

import argparse
import re

from ...checked_values import argument, number, share, whole
from ...text_files import expanded, output_folder
from .common import RUNTIME, add

BOX_FORMATS = ("xyxy", "xywh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, "--config-file", "--import", "--weights")
    own = parser.add_argument
    help_text = "images, videos, folders, patterns, cameras (0, camera:1), streams (rtsp://...)"
    own("--input", nargs="+", required=True, type=expanded, help=help_text)
    help_text = "folder of pictures and predictions.json"
    own("--output", required=True, type=output_folder, help=help_text)
    own("--score-threshold", type=argument(share), default=0.3, help="0 to 1, default 0.3")
    help_text = "also written: json (always), coco, csv, yolo, labelme; of videos json and csv"
    own("--format", nargs="+", default=["json"], metavar="FORM", help=help_text)
    help_text = "COCO JSON whose ids of images (by file name) and categories --format coco takes"
    own("--image-ids", type=expanded, metavar="FILE", help=help_text)
    own("--classes", nargs="+", metavar="NAME", help="only these classes; default: all")
    own("--max-detections", type=argument(whole(1)), metavar="N", help="in one picture, the best")
    own("--no-clip", action="store_true", help="boxes may reach out of the image")
    help_text = "predict large pictures in tiles of SIZE pixels; default: as trained"
    own("--tiles", nargs="?", type=argument(whole(16)), const=0, metavar="SIZE", help=help_text)
    help_text = "of neighbours, no less than the objects; default: a quarter of SIZE"
    own("--tile-overlap", type=argument(whole(0)), metavar="PIXELS", help=help_text)
    own("--tiles-and-whole", action="store_true", help="look at the whole picture too")
    own("--frames", type=frames, metavar="A:B:C", help="of videos: from A to before B, each C-th")
    own("--track", action="store_true", help="of videos: number the objects (library trackers)")
    own("--box-format", choices=BOX_FORMATS, default="xyxy", help="of the JSON")
    own("--runtime", metavar="NAME", help=RUNTIME)
    own("--batch-size", type=argument(whole(1)), default=8, help="images at once, default 8")
    own("--no-pictures", action="store_true", help="no pictures of detections")
    help_text = "also draw where centers or corners are seen (photo.heatmap.jpg), boxes: with the "
    help_text += "detections over all of them in one picture, maps: with sizes, offsets, depth and "
    help_text += "whatever else the network says there; twice as long"
    kinds = {"nargs": "?", "const": "alone", "choices": ("alone", "boxes", "maps")}
    own("--heatmap", **kinds, help=help_text)
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


def frames(given: str) -> slice:
    """Read "0:300:2" as Python's slice: from frame 0 to before 300, each second one."""
    if not re.fullmatch(r"\d*:\d*(:([1-9]\d*)?)?", given):
        raise argparse.ArgumentTypeError(f"{given!r}; give FROM:BEFORE:STEP as 0:300:2, :100, ::5")
    return slice(*(int(part) if part else None for part in given.split(":")))
