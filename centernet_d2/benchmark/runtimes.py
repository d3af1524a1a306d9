"""Every runtime of a detector in one table, and which of them to use on this machine."""

import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import torch
from detectron2.modeling import build_model

from ..engine.model_config import read_model_config
from ..engine.setup import setup
from ..inference.find_images import find_images
from ..inference.predictor import Predictor
from ..inference.runtime import (
    RUNTIMES,
    Detect,
    Named,
    Runtimes,
    differences,
    entry_of,
    generated_pictures,
)
from .detector import count_multiply_adds, preprocess, size_text
from .sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from .timing import peak_memory

GEMM, SIDE = "float32 GEMM", 1024  # the machine's own rate: a product of matrices of that side
TIMES = ("ms_per_image", "times_eager", "spread", "gflops", "of_gemm", "peak_mib")
NEAR = 1.03  # so much slower may be chance: what comes first in the table needs less


@BENCHMARK_REGISTRY.register()
def runtimes(options: BenchmarkOptions) -> list[Row]:
    """Milliseconds per picture, from pixels to detections, of each runtime and batch, in turns.

    `gflops`: multiplications and additions of the network in a second; `of_gemm`: their share of
    what one large product of float32 matrices reaches, the first row. `scores` and `boxes`: the
    largest differences to eager PyTorch, by the comparison of `centernet-d2 export`; `note` says
    why a runtime is no candidate. The fastest of the others, `use`, are remembered.
    """
    rows: list[Row] = []
    for config in options.configs or [""]:
        with predictor_of(config, options) as predictor:
            rows += measured(predictor, Path(options.weights or config).stem, options)
    return rows


def recommendation(rows: Sequence[Row]) -> str:
    """Which runtime to use, in a sentence for each model."""
    told = []
    for model in dict.fromkeys(row["model"] for row in rows):
        each = " and ".join(
            f"{row['runtime']} for batch {row['batch']} ({row['times_eager']} times as fast as "
            "eager)"
            for row in rows
            if row["model"] == model and row["use"]
        )
        told.append(
            f"Use for {model} on this machine, with {torch.get_num_threads()} threads: {each}; "
            "Predictor(..., runtime='auto') does, and predict --runtime auto."
        )
    return "\n".join(told)


@contextmanager
def predictor_of(config: str, options: BenchmarkOptions) -> Iterator[Predictor]:
    """The detector of the weights, or of a config that names none with random ones."""
    overrides = [*options.overrides, "MODEL.DEVICE", options.device]
    cfg = read_model_config(config, options.weights, overrides)
    with tempfile.TemporaryDirectory() as folder:
        if not options.weights:
            cfg.MODEL.WEIGHTS = ""
            torch.manual_seed(0)
            model = build_model(setup(cfg))
            cfg.MODEL.WEIGHTS = os.path.join(folder, "random.pth")
            names = [f"class {number}" for number in range(model.num_classes)]
            torch.save({"model": model.state_dict(), "class_names": names}, cfg.MODEL.WEIGHTS)
        yield Predictor(cfg)


def measured(predictor: Predictor, name: str, options: BenchmarkOptions) -> list[Row]:
    """The rows of one detector; the fastest runtimes are remembered."""
    pictures, known = pictures_of(predictor, options), predictor.runtimes
    known.pictures = pictures
    opened = {runtime: tried(known, runtime) for runtime in RUNTIMES}
    if eager := opened["eager"][1]["note"]:
        raise ValueError(f"{name}: {eager}")
    heading = {"model": name, "picture": size_text(pictures[0][1].shape[:2])}
    images = preprocess(predictor.model, [entry_of(pictures[0][1])])
    gflop = 2e-9 * count_multiply_adds(predictor.model, images)
    ready = {runtime: detect for runtime, (detect, _) in opened.items() if detect}
    rows: list[Row] = []
    for batch in options.batches:
        found = timed(ready, pictures[:batch], gflop, options)
        rows.append({**heading, "batch": batch, **found[GEMM], **_told("")})
        rows += [
            {**heading, "batch": batch, **found.get(runtime, _untimed(runtime)), **told}
            for runtime, (_, told) in opened.items()
        ]
    known.remember({batch: mark_fastest(rows, batch) for batch in options.batches}, rows)
    return rows


def tried(known: Runtimes, runtime: str) -> tuple[Detect | None, Row]:
    """What detects by a runtime, None where it cannot, and how it compares."""
    try:
        detect = known.detector(runtime)
        report = differences(known.model, detect, [[each] for each in known.pictures])
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        return None, _told(str(error).strip().partition("\n")[0])
    return detect, _told(report.fault(), report.worst)


def _told(note: str, worst: Mapping[str, float] | None = None) -> Row:
    found = worst or {}
    rounded = {
        n: float(f"{found[n]:.2g}") if n in found else None for n in ("scores", "pred_boxes")
    }
    return {"scores": rounded["scores"], "boxes": rounded["pred_boxes"], "use": "", "note": note}


def _untimed(runtime: str) -> Row:
    return {"runtime": runtime} | dict.fromkeys(TIMES)


@torch.no_grad()
def timed(
    ready: Mapping[str, Detect], pictures: Sequence[Named], gflop: float, options: BenchmarkOptions
) -> dict[str, Row]:
    """Runtime -> what is measured of it; `gflop` are the network's billions for one picture."""
    batch = [image for _, image in pictures]
    matrix = torch.rand(SIDE, SIDE, device=options.torch_device)
    calls = {GEMM: lambda: matrix @ matrix}
    for name, detect in ready.items():
        calls[name] = lambda detect=detect: detect([entry_of(image) for image in batch])
    timings = options.time(calls, most_rounds=max(5, options.rounds // len(batch)))
    gemm, eager = 2e-9 * SIDE**3 / timings[GEMM].median, timings["eager"].median
    rows: dict[str, Row] = {}
    for name, timing in timings.items():
        rate = gflop * len(batch) / timing.median if name != GEMM else gemm
        peak = peak_memory(calls[name], options.torch_device)
        told = (
            round(timing.ms / len(batch), 2) if name != GEMM else None,
            round(eager / timing.median, 2) if name != GEMM else None,
            *(timing.spread, round(rate, 1), round(rate / gemm, 2)),
            None if peak is None else round(peak / 2**20, 1),
        )
        rows[name] = {"runtime": name} | dict(zip(TIMES, told, strict=True))
    return rows


def mark_fastest(rows: Sequence[Row], batch: int) -> str:
    """Mark and return the first runtime that none is much faster than and that finds the same."""
    fits = [
        row
        for row in rows
        if row["batch"] == batch
        and row["ms_per_image"]
        and not row["note"]
        and RUNTIMES[str(row["runtime"])].chosen
    ]
    best = min(row["ms_per_image"] for row in fits)
    chosen = next(row for row in fits if row["ms_per_image"] <= NEAR * best)
    chosen["use"] = "yes"
    return str(chosen["runtime"])


def pictures_of(predictor: Predictor, options: BenchmarkOptions) -> list[Named]:
    """Pictures of one size for the largest batch: those given, again where they are few."""
    count = max(options.batches)
    size = tuple(options.size or predictor.cfg.INPUT.TRAIN_SIZE)
    if not options.images:
        return generated_pictures([size] * count)
    found: list[Named] = []
    for file in find_images(list(options.images)):
        image = predictor.read(file)
        if not found or image.shape == found[0][1].shape:
            found.append((Path(file).name, image))
        if len(found) == count:
            break
    return list(islice(itertools.cycle(found), count))
