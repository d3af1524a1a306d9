#!/usr/bin/env python
r"""Train or evaluate a detector.

    CONFIG=configs/Shapes/points_tiny.yaml
    tools/train_net.py --config-file $CONFIG OUTPUT_DIR output/shapes
    tools/train_net.py --config-file $CONFIG --resume OUTPUT_DIR output/shapes  # goes on
    tools/train_net.py --config-file $CONFIG --eval-only \
        OUTPUT_DIR output/shapes MODEL.WEIGHTS output/shapes/model_final.pth
    tools/train_net.py --config-file $CONFIG OUTPUT_DIR output/mine \
        DATASETS.TRAIN coco:my/train.json:my/images DATASETS.TEST coco:my/val.json:my/images

An own dataset needs MODEL.HEATMAP.NUM_CLASSES 0 where the config states another number (it is 0 in
configs/Shapes), and DATASETS.TEST "()" where there is nothing to evaluate on.

A LazyConfig trains as well; its overrides are key=value:

    tools/train_net.py --config-file configs/lazy/points_tiny.py train.output_dir=output/lazy

`--num-gpus N` starts N processes: one per GPU or, without a GPU, N on the CPU.

`--import` imports a module of one's own in every process, before the config is read: a dotted name
or a file. The config may then name what it registers; its `add_config(cfg)`, if it has one, adds
config keys.

    tools/train_net.py --import my_package.my_detector --import my/dataset.py --config-file my.yaml

    tools/train_net.py --config-file $CONFIG --seeds 5 OUTPUT_DIR output/five
    tools/train_net.py --config-file $CONFIG --seeds 5 --eval-only TEST.FLIP True \
        OUTPUT_DIR output/five
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from detectron2.engine import default_argument_parser
from detectron2.utils.logger import setup_logger

from centernet_d2.checked_values import argument, whole
from centernet_d2.detectron2_versions import launch
from centernet_d2.engine.run import run
from centernet_d2.engine.seeds import run_seeds
from centernet_d2.engine.user_modules import add_import_argument


def parse_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the command line's values, and the arguments without --seeds: those of one seed."""
    # A parser of its own, as detectron2's takes abbreviations: `--seed 42` would be 42 trainings.
    own = argparse.ArgumentParser(allow_abbrev=False, add_help=False, usage=argparse.SUPPRESS)
    own.add_argument_group("several seeds").add_argument(
        "--seeds",
        type=argument(whole(1)),
        metavar="N",
        help="train with N seeds (SEED, SEED + 1, ..., from 0 where SEED is negative), one after "
        "the other, each in OUTPUT_DIR/seed_<s>, and report mean and standard deviation of every "
        "score, also in OUTPUT_DIR/seeds.json; with --resume finished seeds are left out; with "
        "--eval-only evaluate each seed's model_final.pth, the report is in OUTPUT_DIR/inference",
    )
    seeds, rest = own.parse_known_args(arguments)
    parser = default_argument_parser(epilog=f"{own.format_help()}\n{__doc__}")
    add_import_argument(parser)
    return parser.parse_args(rest, seeds), rest


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and start the job's processes, or a job for each seed."""
    args, rest = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    if args.seeds:
        setup_logger(distributed_rank=args.machine_rank, name="centernet_d2")
        run_seeds(args.seeds, args, command=[sys.executable, os.path.abspath(__file__), *rest])
        return
    launch(
        run,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )


if __name__ == "__main__":
    main()
