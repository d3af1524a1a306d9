"""The verb `predict`: detections of images and videos, as pictures and files of several forms."""

import argparse
import functools
import hashlib
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import numpy as np

from ..checked_values import check_choice
from ..engine.model_config import model_text, read_model_config
from ..engine.processes import at_signals
from ..engine.terminal import start_logging
from ..engine.user_modules import import_all
from ..inference.adapters import byte_tracker
from ..inference.cameras import ImageCameras
from ..inference.files import PredictionWriter, predict_files
from ..inference.find_images import find_images, is_live, is_video
from ..inference.formats import PREDICTION_FORMATS
from ..inference.predictor import Predictor
from ..inference.records import Recorder
from ..inference.tiles import hint_at_tiles, predict_in_tiles, usual_tile
from ..inference.video_files import predict_videos, video_places
from ..progress import tell_once
from ..structures.names import counted
from ..visualization.heatmaps import draw_heatmaps, draw_kinds, draw_maps
from ..visualization.results import draw_result
from ..visualization.skeletons import SkeletonDrawing

logger = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    start_logging(verbose=args.verbose)
    left_out: list[str] = []
    found = find_images(args.input, excluded_folder=args.output, left_out=left_out)
    places = video_places([file for file in found if is_video(file)], args.output)
    files = [file for file in found if file not in places]
    given = (args.config_file, args.weights, args.opts)
    cfg = read_model_config(*given, add_keys=import_all(args.imports))
    check_usage(args, [*places])
    camera = {"calibration": args.calibration, "focal_length": args.focal_length}
    upright = cfg.INPUT.EXIF_ORIENTATION == "apply"
    cameras = ImageCameras([f for f in found if not is_live(f)], **camera, upright=upright)
    predictor = Predictor(cfg, runtime=args.runtime)
    if (args.calibration or args.focal_length) and not predictor.finds_boxes_in_space:
        raise ValueError("this detector finds no boxes in space: it takes no projection")
    names, drawing = predictor.class_names, SkeletonDrawing.of(predictor.skeleton)
    for name in args.classes or ():
        check_choice("--classes", name, names)
    classes = frozenset(map(names.index, args.classes)) if args.classes else None
    choice = (args.score_threshold, args.box_format, classes, args.max_detections)
    recorder = Recorder(names, *choice, clip=not args.no_clip)
    tiles = tile_settings(args, predictor)
    settings = {**predictor.names, **describe_model(predictor.cfg), **camera, "tiles": tiles}
    settings |= {"runtime": args.runtime} if args.runtime else {}
    how = {"threshold": args.score_threshold, "keypoints": args.keypoints, "drawing": drawing}
    draw = None if args.no_pictures else functools.partial(draw_result, class_names=names, **how)
    rule = {"batch_size": args.batch_size, "tiles": tiles}
    predict = functools.partial(predict_batch, predictor, cameras, **rule)
    failed, what = 0, {"draw": draw, "overwrite": args.overwrite}
    with at_signals(stop):
        if files:
            also = {"settings": settings | {"image_ids": args.image_ids}, "left_out": left_out}
            if args.heatmap:
                over = how if args.heatmap == "boxes" else None
                told = (predictor, drawing, over, args.heatmap == "maps")
                also["draw_heatmap"] = functools.partial(draw_seen, *told)
            marks, seen = "keypoints" * args.keypoints, (args.heatmap or "").replace("alone", "")
            marked = f"{seen} {marks}".strip() if seen == "boxes" else seen
            also["drawn"] = {"picture": marks, "heatmap": marked}
            given = (args.output, files, recorder)
            writer = PredictionWriter(*given, **also, **what, formats=args.format)
            failed = run_files(predict, writer, batch_size=args.batch_size, read=predictor.read)
        chosen = args.frames or slice(None)
        heading = {"track": args.track, "frames": [chosen.start, chosen.stop, chosen.step]}
        heading |= {**recorder.heading, **settings, "csv": "csv" in args.format}
        what |= {"batch_size": args.batch_size}
        failed += predict_videos(predict, places, recorder, heading, **what)
    return 1 if failed else 0


def run_files(predict: Callable[..., list[dict]], writer: PredictionWriter, **how: Any) -> int:
    """Predict image files, say what was found, and return how many failed."""
    began = time.perf_counter()
    try:
        report = predict_files(predict, writer.files, writer, **how)
    except (KeyboardInterrupt, SystemExit) as stopped:
        stopped.add_note(
            f"{len(writer.records)} of {len(writer.files)} images are in {writer.path}; the same "
            "command goes on with the others."
        )
        raise
    rate = len(report.done) / (time.perf_counter() - began)
    done, counts = counted(len(report.done), "image"), (len(report.skipped), len(report.failed))
    told = "%s done (%.1f per second), %d done before, %d could not be predicted: %s"
    logger.info(told, done, rate, *counts, writer.path)
    logger.info("%s", writer.told())
    return len(report.failed)


def check_usage(args: argparse.Namespace, videos: Sequence[str]) -> None:
    """Raise ValueError of options that the inputs have no use for, or which miss another one."""
    for name in args.format:
        check_choice("--format", name, PREDICTION_FORMATS)
    of_pictures = args.heatmap or {*args.format} - {"json", "csv"}
    overlap = args.tile_overlap is not None or args.tiles_and_whole
    rules = (
        (not videos and (args.frames or args.track), "--frames and --track go with a video"),
        (videos and of_pictures, f"--heatmap and formats but json and csv are not of {videos[:2]}"),
        (args.tiles is None and overlap, "--tile-overlap and --tiles-and-whole go with --tiles"),
        (args.image_ids and "coco" not in args.format, "--image-ids goes with --format coco"),
    )
    if broken := [told for is_broken, told in rules if is_broken]:
        raise ValueError(f"{broken[0]}; give the one, or leave out the other.")
    if args.track:
        byte_tracker(args.score_threshold, 25.0)  # says whether the library is there


def tile_settings(args: argparse.Namespace, predictor: Predictor) -> dict[str, Any] | None:
    """Return the arguments of `predict_in_tiles`, and say what was chosen; None without tiles."""
    if args.tiles is None:
        return None
    if "pred_boxes3d" in getattr(predictor.model, "output_fields", ()):
        raise ValueError("--tiles: boxes in space need the whole picture, as its camera saw it.")
    told = (predictor.protocol, predictor.training, predictor.cfg.INPUT.TRAIN_SIZE)
    size = args.tiles or usual_tile(*told)
    if not size:
        raise ValueError(
            "--tiles needs a SIZE here, about that of the images that the detector learned from, "
            "which its weights do not say: TEST.RESOLUTION is 'fixed', so that a tile of any size "
            "is scaled to TEST.FIXED_SIZE."
        )
    overlap = size // 4 if args.tile_overlap is None else args.tile_overlap
    told = "Tiles of %d pixels overlap by %d; larger objects may come in parts."
    logger.info(told, size, overlap)
    return {"tile": size, "overlap": overlap, "whole": args.tiles_and_whole}


def stop(number: int, frame: FrameType | None) -> None:
    """End a run at any signal as Ctrl-C does, so that what is done is written."""
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def predict_batch(
    predictor: Predictor,
    cameras: ImageCameras,
    files: Sequence[str],
    images: Sequence[np.ndarray],
    *,
    batch_size: int = 8,
    tiles: dict[str, Any] | None = None,
) -> list[dict]:
    """Detect in images that were read from files, with the cameras that are known."""
    if tiles:
        batch = functools.partial(predictor.batch, batch_size=batch_size)
        return [{"instances": predict_in_tiles(batch, image, **tiles)} for image in images]
    sizes = [image.shape[:2] for image in images]
    if told := hint_at_tiles(predictor.protocol, predictor.training, sizes):
        tell_once(told)
    projections = [cameras.of(*pair) for pair in zip(files, sizes, strict=True)]
    return predictor.batch(images, batch_size=batch_size, projections=projections, file_names=files)


def draw_seen(
    predictor: Predictor,
    drawing: SkeletonDrawing,
    over: Mapping[str, Any] | None,
    of_maps: bool,
    image: np.ndarray,
    shown: Mapping[str, Any],
) -> np.ndarray:
    """Draw heatmaps side by side; all in one and detections `over` it, told how; or `of_maps`."""
    seen = predictor.heatmap(image)
    if over is not None:
        return draw_result(draw_kinds(image, seen), shown, predictor.class_names, **over)
    if of_maps:
        return draw_maps(image, seen, drawing.names)
    names = (predictor.class_names, drawing.names)
    return draw_heatmaps(image, seen.probabilities, *names, scale=seen.scale, shift=seen.shift)


def describe_model(cfg) -> dict[str, object]:
    """Return what must be equal for two runs' predictions to belong together."""
    weights = cfg.MODEL.WEIGHTS
    return {
        "weights": weights,
        "weights_modified": int(os.path.getmtime(weights)) if os.path.isfile(weights) else None,
        "config_sha256": hashlib.sha256(model_text(cfg).encode()).hexdigest(),
    }
