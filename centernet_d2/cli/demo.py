"""The verb `demo`: a training of minutes on generated images."""

import argparse
import os
from dataclasses import dataclass

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from ..analysis.comparison import Comparison
from ..data.datasets.skeletons import skeleton_of
from ..engine import run as job
from ..engine.setup import load_config, setup
from ..inference.predictor import Predictor
from ..inference.records import Recorder
from ..visualization.canvas import image_grid, write_picture
from ..visualization.curves import plot_curves
from ..visualization.skeletons import SkeletonDrawing
from . import parse
from .pictures import detect


@dataclass(frozen=True)
class Demo:
    """A config and what a training of it must reach, as fractions."""

    config: str
    task: str  # of the evaluation's results
    bars: dict[str, float]
    curves: tuple[str, ...] = ("AP", "AP50", "AP75")


DEMOS = {
    "points": Demo("Shapes/points_tiny.yaml", "bbox", {"AP": 0.60, "AP50": 0.90}),
    "corner": Demo("Shapes/cornernet_tiny.yaml", "bbox", {"AP": 0.60, "AP50": 0.80}),
    "triplet": Demo("Shapes/triplet_tiny.yaml", "bbox", {"AP": 0.60, "AP50": 0.80}),
    "box3d": Demo(
        "Shapes/box3d_tiny.yaml",
        "bev_loose",
        {"AP40-Car-moderate": 0.45},
        curves=("AP40-Car-easy", "AP40-Car-moderate", "AP40-Car-hard"),
    ),
    "pose": Demo("Shapes/pose_tiny.yaml", "keypoints", {"AP": 0.25, "AP50": 0.75}),
}


def run(args: argparse.Namespace) -> int:
    demo = DEMOS[args.demo]
    output = args.output or os.path.join("output", f"demo_{args.demo}")
    metrics_file = os.path.join(output, "metrics.json")
    command = ["--config-file", demo.config, "OUTPUT_DIR", output, *args.opts]
    run_args = parse("train", command)
    run_args.overwrite = True  # an earlier demo moves into a folder old_<n>
    cfg = setup(load_config(run_args.config_file, run_args.opts))
    scores = {name: value / 100 for name, value in (job.run(run_args) or {})[demo.task].items()}
    weights = os.path.join(output, "model_final.pth")
    picture = draw_examples(cfg, weights, args.images, os.path.join(output, "detections.jpg"))
    curves = os.path.join(output, "curves.png")
    plot_curves(metrics_file, curves, task=demo.task, metrics=demo.curves)
    print(f"weights {weights}\npicture {picture}\ncurves  {curves}")
    missed = {name: bar for name, bar in demo.bars.items() if not scores[name] >= bar}
    below = [f"{name} {scores[name]:.3f} < {bar}" for name, bar in missed.items()]
    if below:
        print("Below what this demo should reach: " + ", ".join(below))
    print(" ".join(f"{name} {scores[name]:.3f}" for name in demo.bars), flush=True)
    return 1 if below and args.check else 0


def draw_examples(cfg: CfgNode, weights: str, count: int, path: str) -> str:
    """Draw evaluation images, spread over the dataset, with ground truth beside detections."""
    name = cfg.DATASETS.TEST[0]
    records = DatasetCatalog.get(name)
    records = records[:: max(1, len(records) // count)][:count]
    predictor = Predictor(weights, ["MODEL.DEVICE", cfg.MODEL.DEVICE])
    found = {"detections": detect(predictor, records, Recorder(predictor.class_names))}
    comparison = Comparison(records, found, predictor.class_names, most=100)
    how = {"upright": True, "drawing": SkeletonDrawing.of(skeleton_of(name))}
    pictures = [comparison.draw(place, 0.3, **how) for place in range(len(records))]
    write_picture(path, image_grid(pictures, columns=2))
    return path
