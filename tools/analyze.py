#!/usr/bin/env python3
r"""What the papers ask of a trained corner detector beside its scores.

tools/analyze.py oracle --config-file configs/Shapes/triplet_tiny.yaml --weights model_final.pth \
    --substitute heatmaps --substitute heatmaps offsets --substitute centers --output output/oracle
tools/analyze.py corner-quadrants --config-file configs/Shapes/cornernet_tiny.yaml \
    --weights model_final.pth --radius 8

`oracle` evaluates with ground truth in place of predictions, one row per --substitute beside the
detector itself; `corner-quadrants` tells how well corners are found, and where. Both read
DATASETS.TEST; crowd regions are left out of the ground truth.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.evaluation import inference_on_dataset
from detectron2.modeling import build_model
from detectron2.utils.logger import setup_logger
from tabulate import tabulate
from torch import nn
from torch.utils.data import DataLoader

from centernet_d2 import setup
from centernet_d2.analysis.corner_quadrants import QUADRANTS, corner_quadrants
from centernet_d2.analysis.oracle import SUBSTITUTES, Oracle
from centernet_d2.atomic_write import write_json
from centernet_d2.checked_values import argument, weight
from centernet_d2.data.loader import build_test_loader
from centernet_d2.data.mapper import DetectionMapper
from centernet_d2.engine.class_names import without_training_data
from centernet_d2.engine.evaluate import load_for_evaluation
from centernet_d2.engine.user_modules import add_import_argument, read_config
from centernet_d2.evaluation.build import build_evaluator, told_by_model
from centernet_d2.text_files import expanded, expanded_output


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's values."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    oracle = commands.add_parser("oracle", help="scores with ground truth in place of predictions")
    several = {"nargs": "+", "action": "append", "required": True, "choices": SUBSTITUTES}
    help_text = "what is told in one row; may be given several times"
    oracle.add_argument("--substitute", **several, help=help_text)
    quadrants = commands.add_parser("corner-quadrants", help="mAP of corners by quadrant")
    help_text = "pixels within which a corner is right, default 8"
    quadrants.add_argument("--radius", type=argument(weight), default=8.0, help=help_text)
    for command in (oracle, quadrants):
        command.add_argument("--config-file", required=True, help="YAML of the detector")
        add_import_argument(command)
        command.add_argument("--weights", type=expanded, help="checkpoint; default: MODEL.WEIGHTS")
        help_text = "folder of the numbers as JSON; default OUTPUT_DIR"
        command.add_argument("--output", type=expanded_output, help=help_text)
        command.add_argument(
            "--opts", nargs=argparse.REMAINDER, default=[], help="last: overrides KEY VALUE ..."
        )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Analyze; return the exit status."""
    args = parse_arguments(arguments)
    logger = setup_logger(name="centernet_d2")
    cfg = read_config(args.config_file, args.opts, imports=args.imports)
    if args.weights:
        cfg.MODEL.WEIGHTS = args.weights
    cfg = setup(without_training_data(cfg))
    if not cfg.DATASETS.TEST:
        raise ValueError("DATASETS.TEST is empty: nothing to analyze on.")
    output = args.output or os.path.join(cfg.OUTPUT_DIR, "analysis")
    model = build_model(cfg).eval()
    load_for_evaluation(cfg, model)
    for name in cfg.DATASETS.TEST:
        if args.command == "oracle":
            rows = oracle_rows(cfg, model, name, args.substitute, os.path.join(output, name))
        else:
            scores = corner_quadrants(model, loader_with_objects(cfg, name), radius=args.radius)
            rows = [{"corner": corner, **scores[corner]} for corner in scores]
        table = tabulate(rows, headers="keys", floatfmt=".2f", tablefmt="pipe")
        logger.info("%s of %s, in percent:\n%s", args.command, name, table)
        rows = [{k: None if v != v else v for k, v in row.items()} for row in rows]  # JSON's NaN
        heading = {"dataset": name, "weights": cfg.MODEL.WEIGHTS, "unit": "percent"}
        if args.command == "corner-quadrants":
            heading |= {"radius": args.radius, "quadrants": list(QUADRANTS)}
        file = os.path.join(output, name, f"{args.command}.json")
        write_json(file, {**heading, "rows": rows}, indent=1)
    return 0


def oracle_rows(
    cfg: CfgNode, model: nn.Module, name: str, substitutes: list[list[str]], output: str
) -> list[dict[str, object]]:
    """Scores of one dataset: the detector's own, then with each substitution."""
    rows = []
    for told in [[], *substitutes]:
        title = " + ".join(told) or "none"
        folder = os.path.join(output, title.replace(" ", ""))
        evaluator = build_evaluator(cfg, name, folder, **told_by_model(model))
        results = inference_on_dataset(
            Oracle(model, told).eval(), loader_with_objects(cfg, name), evaluator
        )
        scores = {key: v for key, v in results.get("bbox", {}).items() if "-" not in key}
        rows.append({"ground truth": title, **scores})
    return rows


def loader_with_objects(cfg: CfgNode, name: str) -> DataLoader:
    """Images as they are evaluated, with the objects that count: no crowds, nothing difficult."""
    mapper = DetectionMapper(is_train=True, crowd_as_objects=False, difficult_as_objects=False)
    return build_test_loader(cfg, name, mapper=mapper)


if __name__ == "__main__":
    sys.exit(main())
