#!/usr/bin/env python
r"""Train or evaluate a detector.

    CONFIG=configs/Shapes/points_tiny.yaml
    tools/train_net.py --config-file $CONFIG OUTPUT_DIR output/shapes
    tools/train_net.py --config-file $CONFIG --resume OUTPUT_DIR output/shapes  # goes on
    tools/train_net.py --config-file $CONFIG --eval-only \
        OUTPUT_DIR output/shapes MODEL.WEIGHTS output/shapes/model_final.pth
    tools/train_net.py --config-file $CONFIG OUTPUT_DIR output/mine \
        DATASETS.TRAIN coco:my/train.json:my/images DATASETS.TEST coco:my/val.json:my/images

An OUTPUT_DIR that holds a run is refused: `--resume` goes on with it, `--overwrite` moves it aside.
A training that is stopped, by Ctrl-C or SIGTERM, saves what is done and says how to go on.

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
import functools
import os
import sys
from collections.abc import Sequence
from multiprocessing import active_children

from detectron2.engine import default_argument_parser
from detectron2.utils.logger import setup_logger
from torch.multiprocessing import ProcessExitedException

from centernet_d2.checked_values import argument, whole
from centernet_d2.detectron2_versions import launch
from centernet_d2.engine.processes import passed_on
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
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="move the run that lies in OUTPUT_DIR into a folder old_1 (old_2, ...) there, and "
        "start a new one; nothing is deleted",
    )
    return parser.parse_args(rest, seeds), rest


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and start the job's processes, or a job for each seed."""
    args, rest = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    if args.seeds:
        setup_logger(distributed_rank=args.machine_rank, name="centernet_d2")
        run_seeds(args.seeds, args, command=[sys.executable, os.path.abspath(__file__), *rest])
        return
    machines = {"num_machines": args.num_machines, "machine_rank": args.machine_rank}
    job = functools.partial(
        launch, run, args.num_gpus, **machines, dist_url=args.dist_url, args=(args,)
    )
    if args.num_gpus * args.num_machines <= 1:
        job()
        return
    with passed_on(lambda: [child.pid for child in active_children()]) as signals:
        try:
            job()
        except ProcessExitedException:
            if not signals:
                raise
    if signals:  # the processes have said where the training stands
        sys.exit(128 + signals[0])


if __name__ == "__main__":
    main()
