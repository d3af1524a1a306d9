"""The verb `export`: a detector as a file that other programs run, compared with PyTorch."""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from ..engine.model_config import read_model_config
from ..engine.terminal import start_logging
from ..engine.user_modules import import_all
from ..export.formats import chosen_format
from ..export.graph import Sizes
from ..export.write import Report, compare, compare_maps, write_graph
from ..inference.find_images import find_images
from ..inference.predictor import Predictor
from ..inference.runtime import generated_pictures

logger = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Export; return the exit status."""
    start_logging(verbose=args.verbose)
    form = chosen_format(args.format, args.output)
    if args.output.exists() and not args.overwrite:
        raise FileExistsError(
            f"'{args.output}' is there already: name another file, or give --overwrite."
        )
    overrides = ["MODEL.DEVICE", "cpu", *args.opts]
    cfg = read_model_config(
        args.config_file, args.weights, overrides, add_keys=import_all(args.imports)
    )
    predictor = Predictor(cfg)
    sizes = Sizes(args.batch, *(args.size or (None, None)))
    pictures = list(islice(pictures_of(args.images, predictor), args.most))
    began = time.perf_counter()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    # What stood there stays until a file is proven.
    with tempfile.TemporaryDirectory(dir=args.output.parent, prefix=".export.") as folder:
        file = Path(folder) / args.output.name
        names = {"class_names": predictor.class_names, **predictor.names}
        write_graph(predictor.model, names, form, file, sizes, split=args.split)
        took = time.perf_counter() - began
        run_file, _ = form.open(file)
        if args.split:
            report = compare_maps(predictor.model, run_file, pictures, sizes)
        else:
            report = compare(predictor, run_file, pictures, sizes)
        if fault := report.differences.fault():
            raise ValueError(f"the file does not find what PyTorch finds, and is removed: {fault}")
        size = sum(written.stat().st_size for written in Path(folder).iterdir())
        for written in Path(folder).iterdir():  # the weights of some formats are beside the file
            written.replace(args.output.parent / written.name)
    logger.info("%s: %.1f MB in %.0f s", args.output, size / 1e6, took)
    tell(report)
    return 0


def pictures_of(inputs: list[str] | None, predictor: Predictor) -> Iterator[tuple[str, np.ndarray]]:
    """Name and pixels of the pictures to compare on: those given, or generated ones."""
    if inputs:
        for file in find_images(inputs, option="--images"):
            yield file, predictor.read(file)
        return
    yield from generated_pictures((256 - 24 * index, 256 - 7 * index) for index in range(4))


def tell(report: Report) -> None:
    """Say how a file compares."""
    found, (eager, exported) = report.differences, report.seconds
    told = "compared with PyTorch on %d pictures, %d detections, %d of them ties"
    logger.info(told, report.pictures, found.detections, found.ties)
    for name, value in found.worst.items():
        logger.info("worst difference of %s: %.2g", name, value)
    logger.info("one picture: PyTorch %.0f ms, the file %.0f ms", 1e3 * eager, 1e3 * exported)
