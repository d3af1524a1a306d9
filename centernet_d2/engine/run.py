"""A whole job as a command line asks for it, in one process of it."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from ..atomic_write import write_json
from .class_names import without_training_data
from .evaluate import evaluate_only
from .setup import setup
from .trainer import Trainer
from .user_modules import AddKeys, read_config

RESULTS_FILE = "results.json"
Scores = dict[str, dict[str, float | None]]  # task -> metric -> number; None: not a finite one


def run(
    args: argparse.Namespace,
    *,
    trainer: type[Trainer] = Trainer,
    add_keys: Iterable[AddKeys] = (),
) -> OrderedDict[str, Any] | None:
    """Train or evaluate, as the `args` of detectron2's `default_argument_parser` say.

    The numbers of the last evaluation are written as `results.json` beside the saved config.

    Args:
        args: parsed; `imports`, where it is there, names modules to import, see `user_modules`.
        trainer: a subclass that builds some parts in its own way, in training and evaluation.
        add_keys: functions cfg -> None that add config keys of one's own.
    """
    cfg = prepare(args, add_keys=add_keys)
    results: OrderedDict[str, Any] | None
    if args.eval_only:
        results = evaluate_only(cfg, trainer=trainer)
    else:
        training = trainer(cfg)
        training.resume_or_load(resume=args.resume)
        results = training.train()
    if results is not None and comm.is_main_process():
        file = os.path.join(result_folder(cfg.OUTPUT_DIR, args.eval_only), RESULTS_FILE)
        write_json(file, plain_scores(results), indent=1)
    return results


def prepare(args: argparse.Namespace, *, add_keys: Iterable[AddKeys] = ()) -> CfgNode:
    """Build the config, start logging, save config and log, and seed this process.

    They are saved in `result_folder`. An earlier run's results.json there is removed first, so that
    the one beside a config.yaml is always of that config, and of a run that came to its end.
    """
    cfg = read_config(
        args.config_file, args.opts, imports=getattr(args, "imports", ()), add_keys=add_keys
    )
    folder = result_folder(cfg.OUTPUT_DIR, args.eval_only)
    if args.eval_only:
        cfg = without_training_data(cfg)
    setup_logger(folder, distributed_rank=comm.get_rank(), name="centernet_d2")
    setup(cfg)
    cfg.freeze()
    saved = cfg.clone()
    saved.defrost()
    saved.OUTPUT_DIR = folder
    if comm.is_main_process():
        remove(os.path.join(folder, RESULTS_FILE))
    default_setup(saved, args)
    return cfg


def result_folder(output_dir: str, eval_only: bool) -> str:
    """Return where a run leaves config, log and results.

    Of an evaluation it is `inference` in OUTPUT_DIR, which may be that of a training, whose files
    stay as they are.
    """
    return os.path.join(output_dir, "inference") if eval_only else output_dir


def remove(file: str) -> None:
    """Remove a file that may not be there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(file)


def plain_scores(results: Mapping[str, Any], task: str = "") -> Scores:
    """Return the numbers of an evaluation as JSON can hold them; what is no number is left out.

    Of several datasets, whose results detectron2 nests one deeper, a task is "<dataset>/<task>".
    """
    scores: Scores = {}
    for key, value in results.items():
        if isinstance(value, Mapping):
            scores |= plain_scores(value, f"{task}/{key}" if task else key)
            continue
        with contextlib.suppress(TypeError, ValueError):
            number = float(value)
            scores.setdefault(task, {})[key] = number if math.isfinite(number) else None
    return scores
