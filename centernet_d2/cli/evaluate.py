"""The verb `evaluate`: a training's last part alone, or the scores of results in files."""

import argparse
import os
from collections.abc import Hashable

from detectron2.config import CfgNode

from ..analysis.results_files import Dataset, read_results
from ..engine.class_names import without_training_data
from ..engine.setup import load_config, setup
from ..engine.terminal import start_logging
from ..engine.trainer import Trainer
from ..engine.user_modules import import_all
from ..evaluation.box_evaluator import BoxEvaluator, Detections
from ..evaluation.build import build_evaluator
from . import train


def run(args: argparse.Namespace) -> int:
    if not args.results:
        if args.dataset:
            raise ValueError("--dataset is of --results: set DATASETS.TEST, last and without --")
        if args.runtime and args.num_gpus * args.num_machines > 1:
            raise ValueError("--runtime is of one process: leave --num-gpus out")
        if args.timing:
            from ..benchmark.evaluation import TimedTrainer  # with all that measures detectors
        return train.run(args, trainer=TimedTrainer if args.timing else Trainer)
    if given := [name for name in ("timing", "runtime", "weights") if getattr(args, name)]:
        raise ValueError(f"--results are scored without a model: leave --{given[0]} out")
    start_logging(verbose=args.verbose)
    folder = dict(zip(args.opts[::2], args.opts[1::2], strict=False)).get("OUTPUT_DIR", "")
    score_results(args, folder and os.path.join(folder, "inference"))
    return 0


def score_results(
    args: argparse.Namespace, folder: str
) -> tuple[CfgNode, Dataset, dict[Hashable, Detections], BoxEvaluator, dict]:
    """Score the file `args.results` by the dataset's own evaluator, as --eval-only does.

    Returns config, dataset, detections, the evaluator, which writes to `folder` ("": nowhere), and
    its results.
    """
    cfg = config_without_model(args)
    if len(cfg.DATASETS.TEST) != 1:
        raise ValueError("Name the one dataset that these results are of: --dataset")
    dataset = Dataset(cfg.DATASETS.TEST[0])
    found = read_results(args.results, dataset)
    outputs = ["pred_boxes"]
    outputs += ["pred_keypoints"] * any("joints" in arrays for arrays in found.values())
    told = {"protocol": f"results of {args.results}", "outputs": outputs}
    evaluator = build_evaluator(cfg, dataset.name, folder, **told)
    if not isinstance(evaluator, BoxEvaluator):
        raise ValueError(f"{type(evaluator).__name__} of {dataset.name} takes no results of files")
    for image_id, arrays in found.items():
        evaluator.take(image_id, arrays, f"image {image_id}")
    return cfg, dataset, found, evaluator, evaluator.evaluate()


def config_without_model(args: argparse.Namespace) -> CfgNode:
    """The config of a verb that looks at `args.dataset`, or DATASETS.TEST, and runs no model."""
    opts = [*args.opts, *["DATASETS.TEST", args.dataset] * bool(args.dataset)]
    # Classes are the dataset's, and no word is lost on device or size.
    opts += ["MODEL.HEATMAP.NUM_CLASSES", 0, "MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", 0]
    cfg = load_config(args.config_file, opts, import_all(args.imports))
    if not cfg.DATASETS.TEST:
        raise ValueError("Name the dataset: --dataset coco:my/val.json:my/images")
    return setup(without_training_data(cfg))
