"""The verb `export`: a detector as a file that other programs run, compared with PyTorch."""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import tempfile
import time
from collections.abc import Iterator
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.model_config import read_model_config
from ..engine.terminal import start_logging
from ..engine.user_modules import import_all
from ..export.agreement import Agreement
from ..export.formats import Arrays, Runner, chosen_format
from ..export.graph import Sizes
from ..export.parity import Differences
from ..export.precision import Feed, check_feed, check_precision
from ..export.write import Report, compare, compare_maps, inputs_of, write_graph
from ..inference.file_scores import FileDetector, headline_scores
from ..inference.find_images import find_images, is_video
from ..inference.predictor import Predictor
from ..inference.runtime import generated_pictures

logger = logging.getLogger(__name__)


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
    pictures = list(islice(pictures_of(args.images, predictor), args.most))
    feed = feed_of(args, predictor, sizes) if args.precision == "int8" else None
    began = time.perf_counter()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    # What stood there stays until a file is proven.
    with tempfile.TemporaryDirectory(dir=args.output.parent, prefix=".export.") as folder:
        file = Path(folder) / args.output.name
        names = {"class_names": predictor.class_names, **predictor.names}
        given: dict[str, Any] = {"split": args.split, "precision": args.precision, "feed": feed}
        write_graph(predictor.model, names, form, file, sizes, **given)
        took = time.perf_counter() - began
        report, told = judge(args, predictor, form.open(file), pictures, sizes)
        size = sum(written.stat().st_size for written in Path(folder).iterdir())
        for written in Path(folder).iterdir():  # the weights of some formats are beside the file
            written.replace(args.output.parent / written.name)
    logger.info("%s: %.1f MB in %.0f s", args.output, size / 1e6, took)
    tell(report, told)
    return 0


def check_arguments(args: argparse.Namespace) -> None:
    """Raise an error where arguments do not go together, before anything is read."""
    check_precision(args.format, args.precision)
    if args.output.exists() and not args.overwrite:
        raise FileExistsError(
            f"'{args.output}' is there already: name another file, or give --overwrite."
        )
    if args.calibrate and args.precision != "int8":
        raise ValueError(f"--calibrate is for --precision int8, and this is {args.precision}")
    if args.max_loss is not None and not args.check_on:
        raise ValueError("--max-loss is of the AP on --check-on: name a dataset there")
    if args.check_on and args.split:
        raise ValueError("--check-on scores whole detectors, and --split writes a network alone")


def feed_of(args: argparse.Namespace, predictor: Predictor, sizes: Sizes) -> Feed:
    """The pictures that int8 is calibrated on, spread evenly over those that are named."""
    named = args.calibrate or args.images or []
    files = [file for file in find_images(named) if not is_video(file)] if named else []
    count = min(len(files), args.calibrate_most)
    files = [files[index * len(files) // count] for index in range(count)]
    check_feed(files)
    logger.info("int8 is calibrated on %d pictures", count)

    def inputs(file: str) -> Arrays:
        return inputs_of(predictor.model, predictor.read(file), sizes, split=args.split)

    return Feed(files, inputs)


def judge(
    args: argparse.Namespace,
    predictor: Predictor,
    opened: tuple[Runner, dict[str, Any]],
    pictures: list[tuple[str, np.ndarray]],
    sizes: Sizes,
) -> tuple[Report, list[str]]:
    """Compare a file with PyTorch; what is to be told, or a ValueError that says what differs."""
    run_file, metadata = opened
    differences = Differences() if args.precision == "fp32" else Agreement()
    if args.split:
        report = compare_maps(predictor.model, run_file, pictures, sizes, differences)
    else:
        report = compare(predictor, run_file, pictures, sizes, differences)
    fault, told = differences.fault(), []
    if args.check_on:
        detector = FileDetector(run_file, predictor.model, metadata["frame"])
        unread = (
            contextlib.nullcontext() if args.verbose else contextlib.redirect_stdout(StringIO())
        )
        with unread:  # tables of two evaluations
            scores = [headline_scores(predictor.cfg, each) for each in (predictor.model, detector)]
        lost, lines = loss(*scores, 1.0 if args.max_loss is None else args.max_loss)
        told += lines
        fault = (fault if args.precision == "fp32" else "") or lost
    elif args.precision != "fp32" and not args.split:
        told.append("AP was not compared: name a dataset by --check-on")
    if fault:
        raise ValueError(f"the file does not find what PyTorch finds, and is removed: {fault}")
    return report, told


def loss(
    expected: dict[str, float], found: dict[str, float], allowed: float
) -> tuple[str, list[str]]:
    """The fault, "" for none, and lines of all scores."""
    lines, fault = [], ""
    for name, score in expected.items():
        lines.append(f"{name}: PyTorch {score:.2f}, the file {found[name]:.2f}")
        if not score - found[name] <= allowed and not math.isnan(score):
            fault = f"{lines[-1]} (allowed loss: {allowed:g}, --max-loss)"
    if all(map(math.isnan, expected.values())):
        fault = "--check-on has no object that could be scored"
    return fault, lines


def pictures_of(inputs: list[str] | None, predictor: Predictor) -> Iterator[tuple[str, np.ndarray]]:
    """Name and pixels of the pictures to compare on: those given, or generated ones."""
    if inputs:
        for file in find_images(inputs, option="--images"):
            yield file, predictor.read(file)
        return
    yield from generated_pictures((256 - 24 * index, 256 - 7 * index) for index in range(4))


def tell(report: Report, more: list[str]) -> None:
    """Say how a file compares."""
    found, (eager, exported) = report.differences, report.seconds
    told = "compared with PyTorch on %d pictures, %d detections, %s"
    logger.info(told, report.pictures, found.detections, found.told())
    for line in more:
        logger.info("%s", line)
    for name, value in found.worst.items():
        logger.info("worst difference of %s: %.2g", name, value)
    logger.info("one picture: PyTorch %.0f ms, the file %.0f ms", 1e3 * eager, 1e3 * exported)
