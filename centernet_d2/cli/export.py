"""The verb `export`: a detector as a file that other programs run, compared with PyTorch."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode

from ..benchmark.timing import time_interleaved
from ..engine.model_config import read_model_config
from ..engine.terminal import start_logging
from ..engine.trainer import Trainer
from ..engine.user_modules import import_all
from ..evaluation.build import build_evaluator, told_by_model
from ..export.agreement import Agreement
from ..export.formats import Runner, chosen_format
from ..export.graph import Sizes
from ..export.parity import Differences
from ..export.precision import Feed, check_precision
from ..export.write import compare_maps, inputs_of, resized, write_graph
from ..inference.find_images import find_images, is_video
from ..inference.predictor import Predictor
from ..inference.runtime import (
    FileDetector,
    Named,
    batches_of,
    differences,
    entry_of,
    generated_pictures,
)
from ..modeling.meta_arch.heatmap_detector import HeatmapDetector
from ..runtime.detector import LARGEST
from ..structures.names import counted
from ..text_files import output_folder

logger = logging.getLogger(__name__)
ROUNDS = 5  # of the times that are compared
Scores = dict[str, float]


def run(args: argparse.Namespace) -> int:
    """Export; return the exit status."""
    start_logging(verbose=args.verbose)
    form = chosen_format(args.format, args.output)
    check_arguments(args)
    overrides = ["MODEL.DEVICE", "cpu", *args.opts]
    overrides += ["DATASETS.TEST", args.check_on] * bool(args.check_on)
    cfg = read_model_config(
        args.config_file, args.weights, overrides, add_keys=import_all(args.imports)
    )
    predictor = Predictor(cfg)
    sizes = Sizes(args.batch, *(args.size or (None, None)))
    feed = feed_of(args, predictor, sizes) if args.precision == "int8" else None
    pictures = list(islice(pictures_of(args.images or args.calibrate, predictor), args.most))
    if args.size and args.images and not args.split:
        hint_at_size(args.size, pictures)
    began = time.perf_counter()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    # What stood there stays until a file is proven.
    with tempfile.TemporaryDirectory(dir=args.output.parent, prefix=".export.") as folder:
        file = Path(folder) / args.output.name
        names = {"class_names": predictor.class_names, **predictor.names}
        given: dict[str, Any] = {"split": args.split, "precision": args.precision, "feed": feed}
        write_graph(predictor.model, names, form, file, sizes, **given)
        took = time.perf_counter() - began
        told = judge(args, predictor, form.open(file)[0], pictures, sizes)
        size = sum(written.stat().st_size for written in Path(folder).iterdir())
        for written in Path(folder).iterdir():  # the weights of some formats are beside the file
            written.replace(args.output.parent / written.name)
    logger.info("%s: %.1f MB in %.0f s", args.output, size / 1e6, took)
    for line in told:
        logger.info("%s", line)
    return 0


def check_arguments(args: argparse.Namespace) -> None:
    """Raise an error where arguments do not go together, before anything is read."""
    check_precision(args.format, args.precision)
    output_folder(str(args.output.parent))
    if args.size and not args.split and not 2 <= min(args.size) <= max(args.size) <= LARGEST:
        raise ValueError(f"--size {args.size}: sides of 2 to {LARGEST} pixels can be exported")
    if args.output.exists() and not args.overwrite:
        raise FileExistsError(
            f"'{args.output}' is there already: name another file, or give --overwrite."
        )
    limited = args.split or args.size or args.batch not in (None, 1)
    for wrong, told in (
        (args.split and args.precision != "fp32", "--split is of --precision fp32 alone"),
        (args.calibrate and args.precision != "int8", "--calibrate is for --precision int8"),
        (args.max_loss is not None and not args.check_on, "--max-loss is of the AP on --check-on"),
        (args.check_on and limited, "--check-on is without --split, --size and --batch above 1"),
    ):
        if wrong:
            raise ValueError(f"{told}: leave it out, or change the other")


def feed_of(args: argparse.Namespace, predictor: Predictor, sizes: Sizes) -> Feed:
    """The pictures that int8 is calibrated on, spread evenly over those that are named."""
    option = "--calibrate" if args.calibrate else "--images"
    named = args.calibrate or args.images or []
    files = [f for f in (find_images(named, option=option) if named else ()) if not is_video(f)]
    files = files[:: max(1, len(files) // args.calibrate_most)][: args.calibrate_most]
    feed = Feed(files, lambda file: inputs_of(predictor.model, predictor.read(file), sizes))
    logger.info("int8 is calibrated on %s of %s", counted(len(files), "picture"), option)
    return feed


def judge(
    args: argparse.Namespace, predictor: Predictor, run: Runner, pictures: list[Named], sizes: Sizes
) -> list[str]:
    """Compare a file with PyTorch: what is to be told, or a ValueError that says what differs."""
    model, exact, more = predictor.model, args.precision == "fp32", []
    file = FileDetector(model, run)
    compared = f"compared with PyTorch on {counted(len(pictures), 'picture')}"
    if args.split:
        report, calls = compare_maps(model, run, pictures, sizes)
    else:
        pictures = [(name, resized(image, sizes)) for name, image in pictures]
        report = Differences() if exact else Agreement()
        differences(model, file.by_file, batches_of(pictures, sizes.batch), report)
        entries = [entry_of(pictures[0][1])]
        calls = {
            "PyTorch": lambda: model(entries),
            "the file": lambda: file.by_file(entries * (sizes.batch or 1)),
        }
        compared += f", {counted(report.detections, 'detection')}, {report.told()}"
        more = [] if exact else ["AP was not compared: name a dataset by --check-on"]
    fault = report.fault() if exact or not args.check_on else ""
    if args.check_on:
        with contextlib.redirect_stdout(sys.stdout if args.verbose else StringIO()):
            scores = [headline_scores(predictor.cfg, model, each) for each in (model, file)]
        lost, more = loss(*scores, 1.0 if args.max_loss is None else args.max_loss)
        fault = fault or lost
    if fault:
        fault += "" if args.images or args.calibrate else "; compare on your own: --images FOLDER"
        raise ValueError(f"the file does not find what PyTorch finds, and is removed: {fault}")
    worst = [f"worst difference of {name}: {value:.2g}" for name, value in report.worst.items()]
    with torch.no_grad():
        times = time_interleaved(calls, rounds=ROUNDS, warm_up=0, device=model.device)
    speed = ", ".join(f"{what} {time.ms:.0f} ms" for what, time in times.items())
    return [compared, *more, *worst, f"one picture: {speed}"]


def headline_scores(cfg: CfgNode, model: HeatmapDetector, detect: Any) -> Scores:
    """What `detect` scores in place of a model: "bbox/AP" -> percent, AP or else the first."""
    evaluator = build_evaluator(cfg, cfg.DATASETS.TEST[0], "", **told_by_model(model))
    results = Trainer.test(cfg, detect, evaluator)
    chosen = {t: "AP" if "AP" in each else next(iter(each)) for t, each in results.items() if each}
    return {f"{task}/{name}": float(results[task][name]) for task, name in chosen.items()}


def loss(expected: Scores, found: Scores, allowed: float) -> tuple[str, list[str]]:
    """The fault, "" for none, and lines of all scores."""
    gaps = {name: score - found[name] for name, score in expected.items()}
    lines = {n: f"{n}: PyTorch {expected[n]:.2f}, the file {found[n]:.2f}" for n in gaps}
    bad = [lines[name] for name, gap in gaps.items() if not gap <= allowed]  # NaN too
    fault = f"{bad[0]} (allowed loss: {allowed:g}, --max-loss)" if bad else ""
    return fault, [*lines.values()]


def pictures_of(inputs: list[str] | None, predictor: Predictor) -> Iterator[Named]:
    """Name and pixels of the pictures to compare on: those given, or generated ones."""
    if inputs:
        for file in find_images(inputs, option="--images"):
            yield file, predictor.read(file)
        return
    yield from generated_pictures()


def hint_at_size(size: list[int], pictures: list[Named]) -> None:
    """Warn where none of the pictures has the size that a file is made for."""
    known = [list(image.shape[:2]) for _, image in pictures]
    if known and size not in known:
        told = "no picture of --images is %d high and %d wide, as --size is: the first is %d x %d"
        logger.warning(told, *size, *known[0])
