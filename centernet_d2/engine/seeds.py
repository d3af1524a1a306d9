"""One config trained with several seeds: how far a score lies from itself.

KITTI samples so few recalls that the points paper sees its validation AP move by up to 10 from one
training to the next; it trains five and gives mean and standard deviation (section 6.2).
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from detectron2.config import CfgNode
from tabulate import tabulate

from ..atomic_write import write_json
from .lazy import LAZY_KEYS, dump_lazy
from .processes import passed_on
from .run import RESULTS_FILE, Job, clear_folder, read_job, result_folder
from .setup import setup
from .user_modules import AddKeys

logger = logging.getLogger(__name__)

SUMMARY_FILE = "seeds.json"
FINAL_WEIGHTS = "model_final.pth"


@dataclass(frozen=True)
class Spread:
    """One metric over several runs; mean and deviation are of the values that are known."""

    mean: float | None  # None where no value is known
    deviation: float | None  # of a sample (n - 1); None of fewer than two values
    values: tuple[float | None, ...]  # in the order of the runs; None: NaN there, or not evaluated
    count: int  # of the known ones


Summary = dict[str, dict[str, Spread]]  # task -> metric -> over the runs


def summarize(results: Sequence[Mapping[str, Mapping[str, float | None]]]) -> Summary:
    """Return mean and deviation of every metric in any run's results; None, NaN: not known."""
    summary: Summary = {}
    for task, key in dict.fromkeys((t, k) for scores in results for t in scores for k in scores[t]):
        values = [scores.get(task, {}).get(key) for scores in results]
        # NaN is what differs from itself.
        cleaned = tuple(None if v is None or v != v else float(v) for v in values)
        known = [value for value in cleaned if value is not None]
        mean = statistics.fmean(known) if known else None
        deviation = statistics.stdev(known) if len(known) > 1 else None
        summary.setdefault(task, {})[key] = Spread(mean, deviation, cleaned, len(known))
    return summary


def summary_table(summary: Summary) -> str:
    """Return a row per metric of which any value is known."""
    rows = []
    for task, metric, found in ((t, m, f) for t, fs in summary.items() for m, f in fs.items()):
        if found.mean is not None:
            deviation = "" if found.deviation is None else f"± {found.deviation:.2f}"
            known = f"{found.count} of {len(found.values)}"
            rows.append((task, metric, f"{found.mean:.2f}", deviation, known))
    headers = ("task", "metric", "mean", "deviation", "seeds")
    align = ("left", "left", "right", "right", "right")
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=align)


def run_child(command: Sequence[str], *, output: IO[str] | None = None) -> int:
    """Run a command and return its exit status; it gets the signals that end this process.

    What it prints goes to `output`, None: where this process prints.
    """
    started: list[int] = []
    with (
        passed_on(lambda: started) as received,
        subprocess.Popen(command, stdout=output, stderr=output) as child,
    ):
        started.append(child.pid)
        if received:  # before it was known
            child.terminate()
        status = child.wait()
    return status if status >= 0 else 128 - status  # a shell's way to say "by signal"


def run_seeds(
    count: int,
    args: argparse.Namespace,
    *,
    command: Sequence[str],
    run_child: Callable[[Sequence[str]], int] = run_child,
    add_keys: Iterable[AddKeys] = (),
) -> Summary | None:
    """Train, or evaluate, the same config with `count` seeds; write and print the summary.

    Every seed is a process of its own and has the folder OUTPUT_DIR/seed_<s>. The seeds are SEED,
    SEED + 1, ...; from 0 where SEED is negative. `seeds.json` is written where the results of one
    run would be. Resuming leaves out the seeds that are finished; evaluations start anew. Of
    several machines the first one summarises; to resume, they need the same OUTPUT_DIR.

    Args:
        count: number of seeds.
        args: what detectron2's `default_argument_parser` made of the arguments of `command`.
        command: the program that calls `run`, with its arguments.
        run_child: runs a command and returns its exit status.
        add_keys: as the program gives them to `run`.

    Raises:
        ValueError: nothing to evaluate on, or the same weights for all seeds.
        FileNotFoundError: the weights of a seed are to be evaluated and not there.
        FileExistsError: an earlier series or run is there, and `args` neither resume nor overwrite.
        SystemExit: a run failed; with its exit status.
    """
    job = read_job(args, add_keys=add_keys)
    output, first = job.cfg.OUTPUT_DIR, max(job.cfg.SEED, 0)
    folders = {seed: os.path.join(output, f"seed_{seed}") for seed in range(first, first + count)}
    check(job.cfg, args, folders)
    resume = args.resume and not args.eval_only
    summary_file = os.path.join(result_folder(output, args.eval_only), SUMMARY_FILE)
    if args.machine_rank == 0:
        for folder in (output, *folders.values()):  # of all, before the first is trained
            if aside := clear_folder(folder, args, needed=job.cfg.MODEL.WEIGHTS):
                logger.warning("The earlier run in %s is now in %s.", folder, aside)
        Path(summary_file).unlink(missing_ok=True)  # it would outlive a series that fails
    if resume:
        setup(job.cfg)  # as a run saves it
    for seed, folder in folders.items():
        if resume and is_finished(job, seed, folder):
            logger.info("Seed %d is finished: %s", seed, folder)
            continue
        logger.info("Seed %d (%d of %d): %s", seed, seed - first + 1, count, folder)
        if status := run_child([*command, *overrides(job, seed, folder, args.eval_only)]):
            logger.error(
                "Seed %d failed with exit status %d in %s; its log is there. %s",
                *(seed, status, result_folder(folder, args.eval_only)),
                "Start the evaluation again."
                if args.eval_only
                else "The same command with --resume goes on there; seeds that are finished stay.",
            )
            sys.exit(status)
    if args.machine_rank:
        return None
    files = [Path(result_folder(f, args.eval_only), RESULTS_FILE) for f in folders.values()]
    summary = summarize([json.loads(file.read_text(encoding="utf-8")) for file in files])
    rows = {task: {m: vars(found) for m, found in fs.items()} for task, fs in summary.items()}
    write_json(summary_file, {"seeds": list(folders), "results": rows}, indent=1)
    text = "Mean and deviation of a sample (n - 1); each seed's values are in %s.\n%s"
    logger.info(text, summary_file, summary_table(summary))
    return summary


def overrides(job: Job, seed: int, folder: str, eval_only: bool) -> list[str]:
    """Return what one seed's run has behind the arguments of all; the last value of a key wins."""
    values = {"SEED": str(seed), "OUTPUT_DIR": folder}
    if eval_only:
        values["MODEL.WEIGHTS"] = os.path.join(folder, FINAL_WEIGHTS)
    if job.lazy is not None:
        return [f"{LAZY_KEYS[key]}={value}" for key, value in values.items()]
    return [part for pair in values.items() for part in pair]


def check(cfg: CfgNode, args: argparse.Namespace, folders: Mapping[int, str]) -> None:
    """Raise for what would be found out only after hours; see `run_seeds`."""
    if not cfg.DATASETS.TEST:
        raise ValueError("DATASETS.TEST is empty: --seeds compares scores. Name a dataset there.")
    if not args.eval_only:
        return
    if any(o.split("=")[0] in ("MODEL.WEIGHTS", LAZY_KEYS["MODEL.WEIGHTS"]) for o in args.opts):
        raise ValueError(
            "--seeds with --eval-only evaluates each seed's own weights, "
            f"{os.path.join(cfg.OUTPUT_DIR, 'seed_<s>', FINAL_WEIGHTS)}; the same MODEL.WEIGHTS "
            "for all have no deviation. Leave out MODEL.WEIGHTS, or --seeds."
        )
    files = [os.path.join(folder, FINAL_WEIGHTS) for folder in folders.values()]
    if missing := [file for file in files if not os.path.isfile(file)]:
        raise FileNotFoundError(
            f"No weights to evaluate: {', '.join(missing)}. Train them first, by --seeds "
            f"{len(folders)} without --eval-only, and with --resume where others are trained."
        )


def is_finished(job: Job, seed: int, folder: str) -> bool:
    """Whether a training of this job (after `setup`) with a seed came to its end in `folder`."""
    file = Path(folder, "config.yaml")  # saved when earlier results are removed
    if not file.is_file() or not Path(folder, RESULTS_FILE).is_file():
        return False
    expected = job.saved(SEED=seed, OUTPUT_DIR=folder)
    saved = file.read_text(encoding="utf-8")
    return bool(saved == (dump_lazy(expected) if job.lazy else expected.dump()))
