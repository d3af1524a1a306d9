"""The verb `analyze`: tables of numbers that the papers give beside the scores."""

import argparse
import os
from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import inference_on_dataset
from detectron2.modeling import build_model
from tabulate import tabulate
from torch import nn
from torch.utils.data import DataLoader

from ..analysis.collisions import PAPER, collision_tables, count_collisions
from ..analysis.corner_quadrants import QUADRANTS, corner_quadrants
from ..analysis.oracle import Oracle
from ..analysis.report import advice, write_report
from ..analysis.results_files import weights_of
from ..analysis.speed import PUBLISHED, points_of, table_points, write_plot
from ..atomic_write import write_json
from ..data.fields.base import build_fields
from ..data.loader import build_test_loader
from ..data.mapper import DetectionMapper
from ..data.records import check_class_names, checked_records
from ..engine.class_names import without_training_data
from ..engine.evaluate import load_for_evaluation
from ..engine.model_config import read_model_config
from ..engine.run import plain_scores
from ..engine.setup import setup
from ..engine.terminal import start_logging
from ..engine.user_modules import import_all
from ..evaluation.build import build_evaluator, told_by_model
from . import pictures
from .evaluate import config_without_model, score_results


def run(args: argparse.Namespace) -> int:
    logger = start_logging(verbose=args.verbose)
    if args.analysis in OTHERS:
        return OTHERS[args.analysis](args)
    given = (args.config_file, args.weights, args.opts)
    cfg = read_model_config(*given, add_keys=import_all(args.imports), evaluates=True)
    cfg = setup(without_training_data(cfg))
    if not cfg.DATASETS.TEST:
        raise ValueError("DATASETS.TEST is empty: nothing to analyze on.")
    output = args.output or os.path.join(cfg.OUTPUT_DIR, "analysis")
    model = build_model(cfg).eval()
    load_for_evaluation(cfg, model)
    if args.analysis == "oracle":
        for told in args.substitute:
            Oracle(model, told)  # says what this detector cannot be told
    for name in cfg.DATASETS.TEST:
        if args.analysis == "oracle":
            rows = oracle_rows(cfg, model, name, args.substitute, os.path.join(output, name))
        else:
            scores = corner_quadrants(model, loader_with_objects(cfg, name), radius=args.radius)
            rows = [{"corner": corner, **scores[corner]} for corner in scores]
        table = tabulate(rows, headers="keys", floatfmt=".2f", tablefmt="pipe")
        logger.info("%s of %s, in percent:\n%s", args.analysis, name, table)
        rows = [{k: None if v != v else v for k, v in row.items()} for row in rows]  # JSON's NaN
        heading = {"dataset": name, "weights": cfg.MODEL.WEIGHTS, "unit": "percent"}
        if args.analysis == "corner-quadrants":
            heading |= {"radius": args.radius, "quadrants": list(QUADRANTS)}
        file = os.path.join(output, name, f"{args.analysis}.json")
        write_json(file, {**heading, "rows": rows}, indent=1)
    return 0


def report(args: argparse.Namespace) -> int:
    cfg, dataset, found, evaluator, scores = score_results(args, "")
    folder = args.output or os.path.join(cfg.OUTPUT_DIR, "analysis")
    told = {"scores": plain_scores(scores), "source": args.results, "besides": evaluator.besides}
    told |= {"max_detections": cfg.TEST.COCO_MAX_DETECTIONS, "weights": weights_of(args.results)}
    upright = cfg.INPUT.EXIF_ORIENTATION == "apply"
    numbers = write_report(dataset, found, folder, upright=upright, **told)
    lines = (*advice(numbers), os.path.join(folder, "report.html"))
    print(*filter(None, lines), sep="\n")
    return 0


def collisions(args: argparse.Namespace) -> int:
    cfg = config_without_model(args)
    chosen = {"stride": args.stride, "ious": args.iou, "crowds": args.crowds}
    for name in cfg.DATASETS.TEST:
        records = checked_records(name)
        if not records.labelled:
            raise ValueError(f"'{args.dataset or name}' has no annotations: nothing can collide")
        classes = check_class_names(MetadataCatalog.get(name).thing_classes, name)
        found = count_collisions(records, classes, plus_one=args.plus_one, **chosen)
        print(f"\n{name}", *collision_tables(found), sep="\n\n")
        folder = args.output or os.path.join(cfg.OUTPUT_DIR, "analysis")
        # Several datasets have a folder each.
        folder = os.path.join(folder, name) if len(cfg.DATASETS.TEST) > 1 else folder
        file = os.path.join(folder, "collisions.json")
        write_json(file, {"dataset": name, **found, "paper": PAPER}, indent=1)
        print(f"\nwritten: {file}")
    return 0


def plot(args: argparse.Namespace) -> int:
    metric = args.metric if "/" in args.metric else f"bbox/{args.metric}"
    points = [p for run in args.runs for p in points_of(run, metric)]
    if args.reference:
        points += table_points(PUBLISHED, metric, data=args.reference)
    folder = args.output or os.path.join("output", "plot")
    rows = write_plot(points, folder, metric, rate=args.rate)
    print(tabulate(rows, "keys", "pipe", floatfmt=".2f"))
    if len(machines := {point.machine for point in points}) > 1:
        print(f"Times are of {len(machines)} set-ups, machine and batch: compare those of one.")
    if len(data := {point.data for point in points}) > 1:
        print(f"Scores are of {len(data)} data sets: compare those of one.")
    print(f"written: {os.path.join(folder, 'plot.svg')}, plot.png, plot.json")
    return 0


OTHERS = {"report": report, "collisions": collisions, "pictures": pictures.run, "plot": plot}


def oracle_rows(
    cfg: CfgNode, model: nn.Module, name: str, substitutes: list[list[str]], output: str
) -> list[dict[str, Any]]:
    """Scores of one dataset: the detector's own, then with each substitution."""
    rows = []
    for told in [[], *substitutes]:
        title = " + ".join(told) or "none"
        folder = os.path.join(output, title.replace(" ", ""))
        evaluator = build_evaluator(cfg, name, folder, **told_by_model(model))
        detector, loader = Oracle(model, told).eval(), loader_with_objects(cfg, name)
        results = inference_on_dataset(detector, loader, evaluator)
        rows.append({"ground truth": title, **scores_of(results)})
    return rows


def scores_of(results: Mapping[str, Any]) -> dict[str, float | None]:
    """Of an evaluation what is of all classes: scores of boxes, and AP of other tasks by name."""
    rows: dict[str, float | None] = {}
    for task, found in plain_scores(results).items():
        whole = {key: value for key, value in found.items() if "-" not in key}
        told = {f"{task} {key}": value for key, value in whole.items() if key.startswith("AP")}
        rows |= whole if task == "bbox" else told
    return rows


def loader_with_objects(cfg: CfgNode, name: str) -> DataLoader:
    """Images as they are evaluated, with the objects that count: no crowds, nothing difficult."""
    no_regions = {"crowd_as_objects": False, "difficult_as_objects": False}
    mapper = DetectionMapper(is_train=True, fields=build_fields(cfg), **no_regions)
    return build_test_loader(cfg, name, mapper=mapper)
