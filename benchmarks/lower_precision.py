"""What files of lower precision cost in AP, and bring in size and time, on one thread.

    python -m benchmarks.lower_precision --output table.md \
        --model bccd bccd voc:bccd/Annotations:bccd/JPEGImages:bccd/ImageSets/Main/test.txt \
            "bccd/JPEGImages/*.jpg" \
        --model "ResNet-18-DCN" random:COCO-Detection/points_resnet18_dcn "" "photos/*.jpg"

Each --model has a name, its weights (or "random:" and a config, whose AP is nothing to be
measured), the dataset that it is scored on ("": none), and the pictures that int8 is calibrated on.
Times are the lowest of one picture, all files and PyTorch in turns: others may use the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import io
import tempfile
from pathlib import Path

import torch
from detectron2.modeling import build_model

from centernet_d2 import Predictor
from centernet_d2.benchmark.timing import time_interleaved
from centernet_d2.cli.export import headline_scores
from centernet_d2.data.images import read_image
from centernet_d2.engine.setup import load_config, setup
from centernet_d2.export.formats import formats
from centernet_d2.export.graph import Sizes
from centernet_d2.export.precision import PRECISIONS, Feed
from centernet_d2.export.write import inputs_of, write_graph
from centernet_d2.inference.runtime import FileDetector, entry_of

HEAD = ("model", "runtime", "precision", "scores", "MB", "ms", "times as fast as fp32", "as eager")
CPU = ["MODEL.DEVICE", "cpu"]


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs=4, action="append", required=True)
    parser.add_argument("--formats", nargs="+", default=["onnx", "openvino"], choices=PRECISIONS)
    parser.add_argument("--calibrate-most", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for given in args.model for row in measure(*given, args)]
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    args.output.write_text("".join(f"| {' | '.join(map(str, row))} |\n" for row in lines))
    print(args.output.read_text())


@torch.no_grad()
def measure(
    name: str, weights: str, dataset: str, pattern: str, args: argparse.Namespace
) -> list[list[str]]:
    """The rows of one model."""
    cfg, model = detector_of(weights, dataset)
    files = sorted(glob.glob(pattern))
    files = files[:: max(1, len(files) // args.calibrate_most)][: args.calibrate_most]
    feed = Feed(files, lambda file: inputs_of(model, read_image(file), Sizes()))
    detectors, sizes = {("PyTorch", "fp32"): model}, {}
    with tempfile.TemporaryDirectory() as folder:
        for form_name in args.formats:
            for precision in PRECISIONS[form_name]:
                form, place = formats()[form_name], Path(folder) / form_name / precision
                place.mkdir(parents=True)
                path = place / f"model{form.ending}"
                given = {"precision": precision, "feed": feed}
                write_graph(model, {"class_names": []}, form, path, Sizes(), **given)
                key = form_name, precision
                sizes[key] = sum(file.stat().st_size for file in place.iterdir()) / 1e6
                detectors[key] = FileDetector(model, form.open(path)[0])
        scores = {k: scores_of(cfg, model, d) for k, d in detectors.items()} if dataset else {}
        entry = entry_of(read_image(files[0]))
        calls = {key: lambda d=detect: d([entry]) for key, detect in detectors.items()}
        device = torch.device("cpu")
        times = time_interleaved(calls, rounds=args.rounds, warm_up=3, device=device)
    rows = []
    for (form, precision), time in times.items():
        key, reference = (form, precision), times[form, "fp32"].lowest
        told = [
            scores.get(key, ""),
            f"{sizes[key]:.1f}" if key in sizes else "",
            f"{1e3 * time.lowest:.1f}",
        ]
        ratios = [reference / time.lowest, times["PyTorch", "fp32"].lowest / time.lowest]
        rows.append([name, form, precision, *told, *(f"{ratio:.2f}" for ratio in ratios)])
    return rows


def detector_of(weights: str, dataset: str):
    """Config and model."""
    if weights.startswith("random:"):
        cfg = setup(load_config(weights.removeprefix("random:"), [*CPU, "MODEL.WEIGHTS", ""]))
        torch.manual_seed(0)
        return cfg, build_model(cfg).eval()
    predictor = Predictor(weights, [*CPU, "DATASETS.TEST", dataset or "()"])
    return predictor.cfg, predictor.model


def scores_of(cfg, model, detect) -> str:
    """All headline scores in a cell."""
    with contextlib.redirect_stdout(io.StringIO()):
        scores = headline_scores(cfg, model, detect)
    return ", ".join(f"{name} {score:.2f}" for name, score in scores.items())


if __name__ == "__main__":
    main()
