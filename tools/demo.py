#!/usr/bin/env python3
"""Train a small detector on generated images, score it, draw its detections. Minutes on a CPU.

tools/demo.py points            pictures, curves and the checkpoint: output/demo_points
tools/demo.py pose              the same for stick figures and their joints: output/demo_pose
tools/demo.py box3d             the same for boxes on a street before a camera: output/demo_box3d
tools/demo.py points --check    exit status 1 if it scores below what it should
tools/demo.py points SOLVER.MAX_ITER 100      config overrides

The files of an earlier demo move into a folder old_<n> there. The last line is
`AP <value> AP50 <value>`, fractions on shapes_val or shapes_pose_val; of joints, where there are
some. For box3d it is the AP of moderate cars seen from above at IoU 0.5.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import default_argument_parser

from centernet_d2 import Predictor
from centernet_d2.checked_values import argument, whole
from centernet_d2.data.datasets.skeletons import skeleton_of
from centernet_d2.data.fields.base import build_fields
from centernet_d2.data.images import read_image
from centernet_d2.data.mapper import DetectionMapper
from centernet_d2.engine.run import run
from centernet_d2.engine.setup import load_config, setup
from centernet_d2.text_files import expanded_output
from centernet_d2.visualization.canvas import image_grid, write_picture
from centernet_d2.visualization.curves import plot_curves
from centernet_d2.visualization.results import draw_against_truth
from centernet_d2.visualization.skeletons import SkeletonDrawing

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclass(frozen=True)
class Demo:
    """A config and what a training of it must reach, as fractions."""

    config: str
    task: str  # of the evaluation's results
    bars: dict[str, float]
    curves: tuple[str, ...] = ("AP", "AP50", "AP75")


DEMOS = {
    "points": Demo("configs/Shapes/points_tiny.yaml", "bbox", {"AP": 0.60, "AP50": 0.90}),
    "corner": Demo("configs/Shapes/cornernet_tiny.yaml", "bbox", {"AP": 0.60, "AP50": 0.80}),
    "triplet": Demo("configs/Shapes/triplet_tiny.yaml", "bbox", {"AP": 0.60, "AP50": 0.80}),
    "box3d": Demo(
        "configs/Shapes/box3d_tiny.yaml",
        "bev_loose",
        {"AP40-Car-moderate": 0.45},
        curves=("AP40-Car-easy", "AP40-Car-moderate", "AP40-Car-hard"),
    ),
    "pose": Demo("configs/Shapes/pose_tiny.yaml", "keypoints", {"AP": 0.25, "AP50": 0.75}),
}


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's values."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demo", choices=DEMOS, help="which detector")
    parser.add_argument(
        "--output", type=expanded_output, help="folder, default output/demo_<detector>"
    )
    parser.add_argument("--check", action="store_true", help="fail below the demo's bars")
    parser.add_argument(
        "--images", type=argument(whole(1)), default=12, help="images in the picture, default 12"
    )
    parser.add_argument("opts", nargs="*", help="config overrides: KEY VALUE ...")
    return parser.parse_intermixed_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, score and draw; return the exit status."""
    args = parse_arguments(arguments)
    demo = DEMOS[args.demo]
    output = args.output or os.path.join("output", f"demo_{args.demo}")
    metrics_file = os.path.join(output, "metrics.json")
    command = ["--config-file", os.path.join(ROOT, demo.config), "OUTPUT_DIR", output, *args.opts]
    run_args = default_argument_parser().parse_args(command)
    run_args.overwrite = True  # an earlier demo moves into a folder old_<n>
    run_args.command = [os.path.join("tools", "train_net.py"), *command]
    cfg = setup(load_config(run_args.config_file, run_args.opts))
    scores = {name: value / 100 for name, value in (run(run_args) or {})[demo.task].items()}
    weights = os.path.join(output, "model_final.pth")
    picture = draw_examples(cfg, weights, args.images, os.path.join(output, "detections.jpg"))
    curves = os.path.join(output, "curves.png")
    plot_curves(metrics_file, curves, task=demo.task, metrics=demo.curves)
    print(f"weights {weights}\npicture {picture}\ncurves  {curves}")
    below = [
        f"{name} {scores[name]:.3f} < {bar}"
        for name, bar in demo.bars.items()
        if not scores[name] >= bar
    ]
    if below:
        print("Below what this demo should reach: " + ", ".join(below))
    print(" ".join(f"{name} {scores[name]:.3f}" for name in demo.bars), flush=True)
    return 1 if below and args.check else 0


def draw_examples(cfg: CfgNode, weights: str, count: int, path: str) -> str:
    """Draw evaluation images, spread over the dataset, with ground truth beside detections."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = weights
    predictor = Predictor(cfg)
    name = cfg.DATASETS.TEST[0]
    records = DatasetCatalog.get(name)
    records = records[:: max(1, len(records) // count)][:count]
    images = [read_image(record["file_name"]) for record in records]
    projections = [record.get("projection") for record in records]
    results = predictor.batch(images, projections=projections)
    skeleton = skeleton_of(name)
    # Unchanged images; crowd regions do not count in the score.
    truth = DetectionMapper(is_train=True, crowd_as_objects=False, fields=build_fields(cfg))
    pictures = [
        draw_against_truth(
            image,
            truth(record)["instances"],
            result,
            MetadataCatalog.get(name).thing_classes,
            drawing=SkeletonDrawing.of(skeleton),
        )
        for record, image, result in zip(records, images, results, strict=True)
    ]
    write_picture(path, image_grid(pictures, columns=2))
    return path


if __name__ == "__main__":
    sys.exit(main())
