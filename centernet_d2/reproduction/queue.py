"""The runs of a study, one after the other, each a process and a row; what is there is kept."""

import contextlib
import json
import logging
import os
import platform
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import IO, Any

import torch

from .. import __version__
from ..atomic_write import write_json
from ..detectron2_versions import VERSION
from ..engine.processes import STOPPING
from ..engine.run import RESULTS_FILE, TIMING_FILE, result_folder
from ..engine.seeds import run_child
from ..progress import SHOWN, bar
from ..threads import cpu_name
from ..visualization.curves import read_metrics
from .table import Run, Table

logger = logging.getLogger(__name__)

STUDY_FILE, ROWS, LOG = "study.json", "rows", "printed.txt"
PROGRAM = (sys.executable, "-m", "centernet_d2")
STOPPED = tuple(128 + number for number in (signal.SIGINT, *STOPPING))
Rows = dict[str, dict[str, Any]]  # by the run's name


def read_rows(folder: str, table: Table, runs: Sequence[Run]) -> Rows:
    """Return the rows of these runs; ValueError: they are of another table, scale or keys."""
    rows, mine = Rows(), {"version": table.version, "scale": table.scale}
    file = Path(folder, STUDY_FILE)
    if file.is_file() and (found := json.loads(file.read_text("utf-8"))) != mine:
        old, new = (", ".join(f"{k} {v}" for k, v in told.items()) for told in (found, mine))
        raise ValueError(
            f"'{folder}' holds another study ({old}): this one ({new}) needs its own --output."
        )
    if not file.is_file() and os.path.isdir(folder) and os.listdir(folder):
        raise ValueError(f"'{folder}' has files but no {STUDY_FILE}: name another --output.")
    for run in runs:
        file = Path(folder, ROWS, f"{run.name}.json")
        if file.is_file():
            rows[run.name] = json.loads(file.read_text("utf-8"))
            words = rows[run.name]["words"]
            if words != run.words():
                other = ", ".join(sorted({*words} ^ {*run.words()})) or "in another order"
                raise ValueError(
                    f"'{file}' is of a run with other keys than the table has ({other}): name "
                    f"another --output, or delete it and '{Path(folder, run.name)}'."
                )
    return rows


def run_all(
    folder: str,
    table: Table,
    runs: Sequence[Run],
    *,
    run_child: Callable[..., int] = run_child,
) -> list[str]:
    """Run what has no row yet, in order; return the names of the runs that failed.

    Each has a folder in that of the study, and leaves a row when it is done. Two calls at a time
    share the runs; at its end one waits for the other's. SystemExit: one was stopped by a signal;
    the same call goes on with it. `run_child` is that of `engine.seeds`.
    """
    rows, failed, start = read_rows(folder, table, runs), list[str](), time.monotonic()
    write_json(Path(folder, STUDY_FILE), {"version": table.version, "scale": table.scale})
    left = [run for run in runs if run.name not in rows]
    minutes, later = [run.variant.minutes for run in left], list[Run]()
    with bar(total=len(left), what="runs", bar_format="{desc} {bar} {n}/{total}") as shown:
        for done, run in enumerate(chain(left, later)):  # `later` grows meanwhile
            rest = time_left(minutes, done, time.monotonic() - start)
            shown.set_description(f"{run.name}, {rest} left")
            told = (min(done + 1, len(left)), len(left), rest, run.name)
            logger.info("%d of %d, about %s left: %s", *told, extra=SHOWN)
            wait, how = done >= len(left), ""
            try:
                status = -1 if run.needed in failed else run_one(folder, run, run_child, wait=wait)
            except (OSError, ValueError, LookupError, TypeError) as error:
                status, how = 1, f"no whole results ({error!r})"
            if status is None:
                logger.info("Another queue is at %s or what it needs.", run.name, extra=SHOWN)
                later.append(run)
                continue
            if status in STOPPED:
                logger.info("Stopped in %s; the same command goes on.", run.name, extra=SHOWN)
                sys.exit(status)
            if status:
                failed.append(run.name)
                how = how or f"exit status {status}"
                why = f"failed with {how}: see {Path(folder, run.name, LOG)}"
                told = why if status > 0 else f"is left out, as {run.needed} failed"
                logger.error("%s %s.", run.name, told)
            shown.update()
    return failed


def time_left(minutes: Sequence[float], done: int, seconds: float) -> str:
    """Return what a queue still takes: what each run was said to take, as fast as those `done`."""
    said = sum(minutes[:done])
    left = round(sum(minutes[done:]) * (seconds / 60 / said if said else 1.0))
    return f"{left // 60} h {left % 60} min" if left >= 60 else f"{left} min"


def run_one(folder: str, run: Run, run_child: Callable[..., int], *, wait: bool) -> int | None:
    """Run in a process, and write the row; return the exit status, None: another queue is at it.

    Errors of a file or its content: the results are not whole. It is locked until its row is there.
    """
    place, command = Path(folder, run.name), run.command(folder)
    row_file, *needed = (Path(folder, ROWS, f"{n}.json") for n in (run.name, run.needed) if n)
    place.mkdir(parents=True, exist_ok=True)
    with (place / LOG).open("a", encoding="utf-8") as log:
        if not lock(log, wait=wait) or not (wait or all(file.is_file() for file in needed)):
            return None
        if row_file.is_file():  # by now
            return 0
        print(f"$ centernet-d2 {shlex.join(command)}", file=log, flush=True)
        if status := run_child([*PROGRAM, *command], output=log):
            return status
        write_row(row_file, run, place)
    return 0


def lock(file: IO[str], *, wait: bool) -> bool:
    """Lock an open file until this process, and the children that print to it, are gone."""
    with contextlib.suppress(ImportError):  # Windows has none: nothing keeps two queues apart
        from fcntl import LOCK_EX, LOCK_NB, flock

        try:
            flock(file, LOCK_EX | (0 if wait else LOCK_NB))
        except BlockingIOError:
            return False
    return True


def write_row(file: Path, run: Run, place: Path) -> None:
    """Write what a run left in its folder as its row."""
    results = Path(result_folder(str(place), bool(run.needed)))
    row = {"variant": run.variant.name, "seed": run.seed, "words": run.words()}
    made = made_with(str(run.variant.keys.get("MODEL.DEVICE")))
    row |= {"date": datetime.now(UTC).date().isoformat(), "made_with": made}
    row["scores"] = json.loads((results / RESULTS_FILE).read_text("utf-8"))
    if run.needed:
        (times,) = json.loads((results / TIMING_FILE).read_text("utf-8"))["datasets"].values()
        row["scores"]["speed"] = {"ms": times["ms_per_picture"]["detector"]["median"]}
        row["timed_on"] = "{device}, batches of {batch}".format_map(times)
    else:
        row |= learning(str(place / "metrics.json"))
    write_json(file, row, indent=1)


def made_with(device: str) -> str:
    """Return versions and machine of this process, which its children have too."""
    gpu = device.startswith("cuda") and torch.cuda.is_available()
    told = f"centernet_d2 {__version__}, detectron2 {VERSION}, torch {torch.__version__}, Python "
    name = torch.cuda.get_device_name(device) if gpu else cpu_name()
    return f"{told}{platform.python_version()}, {name}"


def learning(file: str) -> dict[str, Any]:
    """Return a training's minutes, without its tests, and AP by task at those minutes.

    They are of steps that nothing disturbed (the fastest tenth of those logged), so that a pause,
    or other work on the machine, is no part of them.
    """
    series = read_metrics(file)
    step = sorted(series["time"][1])[len(series["time"][1]) // 10] / 60
    curves = {
        name: [((iteration + 1) * step, value) for iteration, value in zip(*found, strict=True)]
        for name, found in series.items()
        if name.endswith("/AP")
    }
    return {"minutes": max(curve[-1][0] for curve in curves.values()), "minutes_AP": curves}
