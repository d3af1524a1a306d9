"""A whole job as a command line asks for it, in one process of it."""

from __future__ import annotations

import argparse
import os
from collections import OrderedDict
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from .class_names import without_training_data
from .evaluate import evaluate_only
from .setup import load_config, setup
from .trainer import Trainer


def run(args: argparse.Namespace) -> OrderedDict[str, Any] | None:
    """Train or evaluate, as the `args` of detectron2's `default_argument_parser` say."""
    cfg = prepare(args)
    if args.eval_only:
        return evaluate_only(cfg)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def prepare(args: argparse.Namespace) -> CfgNode:
    """Build the config, start logging, save config and log, and seed this process.

    They are saved in OUTPUT_DIR; of an evaluation in `inference` there, since OUTPUT_DIR may be
    that of a training, whose config.yaml stays as it is.
    """
    cfg = load_config(args.config_file, args.opts)
    folder = cfg.OUTPUT_DIR
    if args.eval_only:
        cfg = without_training_data(cfg)
        folder = os.path.join(folder, "inference")
    setup_logger(folder, distributed_rank=comm.get_rank(), name="centernet_d2")
    setup(cfg)
    cfg.freeze()
    saved = cfg.clone()
    saved.defrost()
    saved.OUTPUT_DIR = folder
    default_setup(saved, args)
    return cfg
