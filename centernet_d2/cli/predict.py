"""The verb `predict`: detections of image files, as pictures and one JSON."""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
from collections.abc import Sequence

import numpy as np

from ..engine.model_config import read_model_config
from ..engine.terminal import start_logging
from ..engine.user_modules import import_all
from ..inference.cameras import ImageCameras
from ..inference.files import PredictionWriter, predict_files
from ..inference.find_images import find_images
from ..inference.predictor import Predictor
from ..visualization.heatmaps import draw_heatmaps
from ..visualization.results import draw_result
from ..visualization.skeletons import SkeletonDrawing


def run(args: argparse.Namespace) -> int:
    """Predict; return the exit status."""
    logger = start_logging(verbose=args.verbose)
    left_out: list[str] = []
    files = find_images(args.input, excluded_folder=args.output, left_out=left_out)
    given = (args.config_file, args.weights, args.opts)
    cfg = read_model_config(*given, add_keys=import_all(args.imports))
    camera = {"calibration": args.calibration, "focal_length": args.focal_length}
    cameras = ImageCameras(files, **camera, upright=cfg.INPUT.EXIF_ORIENTATION == "apply")
    predictor = Predictor(cfg)
    names, drawing = predictor.class_names, SkeletonDrawing.of(predictor.skeleton)
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
    reading = {"batch_size": args.batch_size, "read": predictor.read}
    try:
        report = predict_files(predict, files, writer, **reading)
    except KeyboardInterrupt as stop:
        stop.add_note(
            f"{len(writer.records)} of {len(files)} images are in {writer.path}; the same command "
            "goes on with the others."
        )
        raise
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
