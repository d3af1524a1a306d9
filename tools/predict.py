#!/usr/bin/env python3
r"""Detect objects in images, folders and globs; write pictures and one JSON. Needs no screen.

tools/predict.py --config-file configs/Shapes/points_tiny.yaml --weights model_final.pth \
    --input photos/ "more/**/*.png" --output predictions [--heatmap] [--keypoints]
tools/predict.py --config-file configs/KITTI-Detection3D/points_dla34_3dop.yaml \
    --weights published:ddd_3dop.pth --input street.png --output predictions --focal-length 1000

A second call goes on where the first one stopped. An image that cannot be read, or is too large for
TEST.MAX_PIXELS or the memory, is listed in the JSON, the others go on, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import sys
from collections.abc import Sequence

import numpy as np
from detectron2.utils.logger import setup_logger

from centernet_d2 import Predictor
from centernet_d2.checked_values import argument, number, share, whole
from centernet_d2.engine.user_modules import add_import_argument, read_config
from centernet_d2.inference.cameras import ImageCameras
from centernet_d2.inference.files import PredictionWriter, predict_files
from centernet_d2.inference.find_images import find_images
from centernet_d2.inference.records import BOX_FORMATS
from centernet_d2.text_files import expanded, expanded_output
from centernet_d2.visualization.heatmaps import draw_heatmaps
from centernet_d2.visualization.results import draw_result
from centernet_d2.visualization.skeletons import SkeletonDrawing


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's values."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="YAML of the detector")
    add_import_argument(parser)
    parser.add_argument("--weights", type=expanded, help="checkpoint; default: MODEL.WEIGHTS")
    help_text = "images, folders, patterns; no videos, but folders of their frames"
    parser.add_argument("--input", nargs="+", required=True, type=expanded, help=help_text)
    help_text = "folder of pictures and predictions.json"
    parser.add_argument("--output", required=True, type=expanded_output, help=help_text)
    help_text = "0 to 1, default 0.3"
    parser.add_argument("--score-threshold", type=argument(share), default=0.3, help=help_text)
    parser.add_argument("--box-format", choices=BOX_FORMATS, default="xyxy", help="of the JSON")
    help_text = "images at once, default 8"
    parser.add_argument("--batch-size", type=argument(whole(1)), default=8, help=help_text)
    parser.add_argument("--no-pictures", action="store_true", help="no pictures of detections")
    help_text = (
        "also draw where centers or corners are seen (photo.heatmap.jpg); takes twice as long"
    )
    parser.add_argument("--heatmap", action="store_true", help=help_text)
    help_text = "mark the corners and centers that boxes were made from"
    parser.add_argument("--keypoints", action="store_true", help=help_text)
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument(
        "--calibration",
        type=expanded,
        help="of 3-D boxes: calibration file of KITTI's form (P2), or a folder with <image>.txt; "
        "it is of the pixels as stored, so of images neither resized nor turned by EXIF",
    )
    help_text = "of 3-D boxes: pixels, of a camera that looks at the middle of the image"
    camera.add_argument("--focal-length", type=argument(number(above=0)), help=help_text)
    parser.add_argument("--overwrite", action="store_true", help="predict finished images again")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="last: config overrides KEY VALUE ..."
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict; return the exit status."""
    args = parse_arguments(arguments)
    logger = setup_logger(name="centernet_d2")
    left_out: list[str] = []
    files = find_images(args.input, excluded_folder=args.output, left_out=left_out)
    cfg = read_config(args.config_file, args.opts, imports=args.imports)
    upright = cfg.INPUT.EXIF_ORIENTATION == "apply"
    camera = {"calibration": args.calibration, "focal_length": args.focal_length}
    cameras = ImageCameras(files, **camera, upright=upright)
    if args.weights:
        cfg.MODEL.WEIGHTS = args.weights
    predictor = Predictor(cfg)
    names = predictor.class_names
    drawing = SkeletonDrawing.of(predictor.skeleton)
    how = {"threshold": args.score_threshold, "keypoints": args.keypoints, "drawing": drawing}
    draw = functools.partial(draw_result, class_names=names, **how)
    writer = PredictionWriter(
        args.output,
        files,
        settings={**predictor.names, **describe_model(predictor.cfg), **camera},
        class_names=names,
        score_threshold=args.score_threshold,
        box_format=args.box_format,
        draw=None if args.no_pictures else draw,
        overwrite=args.overwrite,
        draw_heatmap=functools.partial(draw_seen, predictor, drawing) if args.heatmap else None,
        left_out=left_out,
    )
    predict = functools.partial(predict_batch, predictor, cameras)
    report = predict_files(predict, files, writer, batch_size=args.batch_size, read=predictor.read)
    counts = (len(report.done), len(report.skipped), len(report.failed))
    told = "%d images done, %d were done before, %d could not be predicted: %s"
    logger.info(told, *counts, writer.path)
    return 1 if report.failed else 0


def predict_batch(
    predictor: Predictor, cameras: ImageCameras, files: Sequence[str], images: Sequence[np.ndarray]
) -> list[dict]:
    """Detect in images that were read from files, with the cameras that are known."""
    sizes = [image.shape[:2] for image in images]
    projections = [cameras.of(*pair) for pair in zip(files, sizes, strict=True)]
    return predictor.batch(
        images, batch_size=len(images), projections=projections, file_names=files
    )


def draw_seen(predictor: Predictor, drawing: SkeletonDrawing, image: np.ndarray) -> np.ndarray:
    """Draw the detector's heatmaps over an image, one beside the other."""
    seen = predictor.heatmap(image)
    names = (predictor.class_names, drawing.names)
    return draw_heatmaps(image, seen.probabilities, *names, scale=seen.scale, shift=seen.shift)


def describe_model(cfg) -> dict[str, object]:
    """Return what must be equal for two runs' predictions to belong together."""
    parts = cfg.clone()
    parts.defrost()
    parts.MODEL.DEVICE = parts.MODEL.WEIGHTS = ""
    text = "\n".join(part.dump() for part in (parts.MODEL, parts.INPUT, parts.TEST))
    weights = cfg.MODEL.WEIGHTS
    return {
        "weights": weights,
        "weights_modified": int(os.path.getmtime(weights)) if os.path.isfile(weights) else None,
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


if __name__ == "__main__":
    sys.exit(main())
