"""The verb `train`: the job's processes, or a job for each seed."""

import argparse
import functools
import logging
import sys
from collections.abc import Sequence
from multiprocessing import active_children

from torch.multiprocessing import ProcessExitedException

from ..detectron2_versions import launch
from ..engine import run as job
from ..engine.processes import passed_on
from ..engine.seeds import run_seeds
from ..engine.terminal import start_logging
from ..engine.trainer import Trainer


def run(args: argparse.Namespace, *, trainer: type[Trainer] = Trainer) -> int:
    if args.seeds:
        start_logging(rank=args.machine_rank, verbose=args.verbose)
        one = [sys.executable, "-m", "centernet_d2", "train"]
        run_seeds(args.seeds, args, command=[*one, *without_seeds(args.command[1])])
        return 0
    machines = {"num_machines": args.num_machines, "machine_rank": args.machine_rank}
    several = args.num_gpus * args.num_machines > 1
    what = functools.partial(one_of_several if several else job.run, trainer=trainer)
    where = {"dist_url": args.dist_url, **machines}
    start = functools.partial(launch, what, args.num_gpus, **where, args=(args,))
    if not several:
        start()
        return 0
    with passed_on(lambda: [child.pid for child in active_children()]) as signals:
        try:
            start()
        except ProcessExitedException:
            if not signals:
                raise
    return 128 + signals[0] if signals else 0  # the processes have said where the training stands


def one_of_several(args: argparse.Namespace, trainer: type[Trainer]) -> None:
    """Run a process of a job; its trace is for its own log, as the command has none."""
    try:
        job.run(args, trainer=trainer)
    except Exception:
        logging.getLogger(__name__).debug("Failed:", exc_info=True)
        raise


def without_seeds(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without --seeds: those of one seed."""
    own = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    own.add_argument("--seeds")
    return own.parse_known_args(arguments)[1]
