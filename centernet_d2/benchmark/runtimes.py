"""Every runtime of a detector in one table, and which of them to use on this machine."""

from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from ..data.images import read_image
from ..engine.model_config import read_model_config
from ..engine.setup import setup
from ..export.agreement import Agreement
from ..export.parity import Differences
from ..inference import runtime as ways
from ..inference.find_images import find_images, is_video
from ..inference.predictor import Predictor
from ..inference.runtime import CHOSEN, RUNTIMES, Detect, Named, Runtimes, entry_of
from .detector import count_multiply_adds, preprocess, size_text
from .sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from .timing import PAUSE, Call, peak_memory

GEMM, SIDE = "float32 GEMM", 1024  # the machine's own rate: a product of matrices of that side
COLUMNS = "model picture batch runtime ms_per_image times_eager spread gflops of_gemm uncertainty "
COLUMNS += "peak_mib scores boxes use note"
PICTURES, COMPARED = 64, 8  # read at most, to calibrate with, and compared
LEAST_ROUNDS = 5  # of fewer nothing is remembered
NEAR = 1.03  # so much slower may be chance: what comes first in the table needs less


@BENCHMARK_REGISTRY.register()
def runtimes(options: BenchmarkOptions) -> list[Row]:
    """Milliseconds per picture, from pixels to detections, of each runtime and batch, in turns.

    `gflops`: multiplications and additions of the network in a second; `of_gemm`: their share of
    what one large product of float32 matrices reaches, the first row. `scores` and `boxes`: the
    largest differences to eager PyTorch, by the comparison of `centernet-d2 export`, of detections
    that have a counterpart; `note` says why a runtime is no candidate. The fastest of the others,
    `use`, are remembered.
    """
    rows: list[Row] = []
    for config in options.configs or [""]:
        name = Path(options.weights or config).stem
        rows += measured(runtimes_of(config, options), name, options)
    return rows


def recommendation(rows: Sequence[Row], rounds: int) -> str:
    """Which runtime to use, in a sentence."""
    told = "{runtime} for batch {batch} of {model} ({times_eager} times as fast as eager)"
    each = ", ".join(told.format(**row) for row in rows if row["use"])
    where = f"On this machine with --threads {torch.get_num_threads()} use {each}"
    if rounds < LEAST_ROUNDS:
        return f"{where}; not remembered: fewer than {LEAST_ROUNDS} rounds"
    return f"{where}: Predictor(..., runtime='auto') and predict --runtime auto do."


def runtimes_of(config: str, options: BenchmarkOptions) -> Runtimes:
    """Those of the weights' detector, or of a config's with random weights."""
    overrides = [*options.overrides, "MODEL.DEVICE", options.device]
    cfg = read_model_config(config, options.weights, overrides)
    if options.weights:
        return Predictor(cfg).runtimes
    cfg.MODEL.WEIGHTS = ""
    torch.manual_seed(0)
    return Runtimes(build_model(setup(cfg)).eval(), {"class_names": []}, cfg)


def measured(known: Runtimes, name: str, options: BenchmarkOptions) -> list[Row]:
    """The rows of one detector; the fastest runtimes are remembered."""
    known.pictures = pictures = pictures_of(known.cfg, options)
    opened = {runtime: compared(known, runtime) for runtime in RUNTIMES}
    if eager := opened["eager"][1]["note"]:
        raise ValueError(f"{name}: {eager}")
    ready = {runtime: detect for runtime, (detect, _) in opened.items() if detect}
    told = {runtime: row for runtime, (_, row) in opened.items()}
    same = [named for named in pictures if named[1].shape == pictures[0][1].shape]
    images = preprocess(known.model, [entry_of(pictures[0][1])])
    gflop = 2e-9 * count_multiply_adds(known.model, images)
    heading: Row = dict.fromkeys(COLUMNS.split())
    heading |= {"model": name, "picture": size_text(pictures[0][1].shape[:2])}
    rows: list[Row] = []
    for batch in options.batches:
        times = timed(ready, [*islice(cycle(same), batch)], gflop, options)
        for runtime in (GEMM, *RUNTIMES):
            row = heading | {"batch": batch, "runtime": runtime}
            rows.append(row | times.get(runtime, {}) | told.get(runtime, {}))
    fastest = {batch: mark_fastest(rows, batch) for batch in options.batches}
    if options.rounds >= LEAST_ROUNDS:
        known.remember(fastest)
    return rows


def compared(known: Runtimes, runtime: str) -> tuple[Detect | None, Row]:
    """What detects by a runtime, None where it cannot, and how it compares with eager PyTorch."""
    is_exact, some = RUNTIMES[runtime][1] == "fp32", known.pictures[:COMPARED]
    report = Differences() if is_exact else Agreement()
    try:
        detect = known.detector(runtime)
        ways.differences(known.model, detect, [some[:1], some], report)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        return None, {"note": str(error).strip().partition("\n")[0]}
    worst = {name: float(f"{value:.2g}") for name, value in report.worst.items()}
    told = {"scores": worst.get("scores"), "boxes": worst.get("pred_boxes")}
    note = report.fault() or ("" if is_exact else report.told())
    return detect, told | {"note": note.partition(" (needed")[0]}


@torch.no_grad()
def timed(
    ready: Mapping[str, Detect], pictures: Sequence[Named], gflop: float, options: BenchmarkOptions
) -> dict[str, Row]:
    """Runtime -> what is measured of it; `gflop` are the network's billions for one picture."""
    count, device = len(pictures), options.torch_device
    matrix = torch.rand(SIDE, SIDE, device=device)
    if device.type == "cpu" and torch.backends.mkldnn.is_available():
        matrix = matrix.to_mkldnn()  # by oneDNN: MKL is slow on processors of others
    calls: dict[str, Call] = {GEMM: lambda: torch.nn.functional.linear(matrix, matrix)}
    for name, detect in ready.items():
        calls[name] = lambda detect=detect: detect([entry_of(image) for _, image in pictures])
    timings = options.time(calls, most_rounds=max(5, options.rounds // count), pause=PAUSE)
    product = timings.pop(GEMM)
    gemm = 2e-9 * SIDE**3 / product.median
    rows: dict[str, Row] = {GEMM: {"gflops": round(gemm, 1)}}
    for name, timing in timings.items():
        rate, peak = gflop * count / timing.median, peak_memory(calls[name], device)
        rows[name] = {
            "ms_per_image": round(timing.ms / count, 2),
            "times_eager": round(timings["eager"].median / timing.median, 2),
            "spread": timing.spread,
            "gflops": round(rate, 1),
            "of_gemm": round(rate / gemm, 2),
            "uncertainty": timing.against(product, GEMM)["uncertainty"],
            "peak_mib": None if peak is None else round(peak / 2**20, 1),
        }
    return rows


def mark_fastest(rows: Sequence[Row], batch: int) -> str:
    """Mark and return the first runtime that none is much faster than and that finds the same."""
    fits = [row for row in rows if row["batch"] == batch and row["times_eager"]]
    fits = [row for row in fits if not row["note"] and row["runtime"] in CHOSEN]
    best = min(row["ms_per_image"] for row in fits)
    chosen = next(row for row in fits if row["ms_per_image"] <= NEAR * best)
    chosen["use"] = "yes"
    return str(chosen["runtime"])


def pictures_of(cfg: CfgNode, options: BenchmarkOptions) -> list[Named]:
    """At most `PICTURES` of those given, or generated ones."""
    if not options.images:
        return ways.generated_pictures([tuple(options.size or cfg.INPUT.TRAIN_SIZE)] * 4)
    upright = cfg.INPUT.EXIF_ORIENTATION == "apply"
    files = [f for f in find_images(options.images, option="--images") if not is_video(f)]
    return [(Path(file).name, read_image(file, upright=upright)) for file in files[:PICTURES]]
