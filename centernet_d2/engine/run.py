"""A whole job as a command line asks for it, in one process of it."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

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
    """Build the config, start logging, save the config to OUTPUT_DIR and seed this process."""
    cfg = load_config(args.config_file, args.opts)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="centernet_d2")
    setup(cfg)
    cfg.freeze()
    default_setup(cfg, args)
    return cfg
