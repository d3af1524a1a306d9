"""The runs of a study, one after the other, each a process and a row; what is there is kept."""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..atomic_write import write_json
from ..engine.processes import STOPPING
from ..engine.run import RESULTS_FILE, TIMING_FILE, result_folder
from ..engine.seeds import run_child
from ..progress import SHOWN, bar
from ..visualization.curves import read_metrics
from .table import Run, Table

logger = logging.getLogger(__name__)

STUDY_FILE, ROWS, LOG = "study.json", "rows", "printed.txt"
PROGRAM = (sys.executable, "-m", "centernet_d2")
STOPPED = tuple(128 + number for number in (signal.SIGINT, *STOPPING))
Rows = dict[str, dict[str, Any]]  # by the run's name


def open_folder(folder: str, table: Table) -> None:
    """Make a folder the study's own.

    Raises:
        ValueError: it holds a study of another table or scale.
    """
    file, mine = Path(folder, STUDY_FILE), {"version": table.version, "scale": table.scale}
    if file.is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
        if found != mine:
            raise ValueError(
                f"'{folder}' holds a study of table version {found.get('version')} at scale "
                f"{found.get('scale')}, not of version {table.version} at scale {table.scale}: "
                "name another --output."
            )
        return
    write_json(file, mine)


def read_rows(folder: str, runs: Sequence[Run]) -> Rows:
    """Return the rows that are there of these runs.

    Raises:
        ValueError: a row is of other keys than the table has for its run.
    """
    rows = {}
    for run in runs:
        file = Path(folder, ROWS, f"{run.name}.json")
        if file.is_file():
            rows[run.name] = row = json.loads(file.read_text(encoding="utf-8"))
            if other := set(row["words"]) ^ set(map(str, run.words())):
                raise ValueError(
                    f"'{file}' is of a run with other keys than the table has now ("
                    f"{', '.join(sorted(other))}): name another --output, or delete that file and "
                    f"'{os.path.join(folder, run.name)}' to run it again."
                )
    return rows


def run_all(
    folder: str,
    runs: Sequence[Run],
    *,
    run_child: Callable[..., int] = run_child,
    after: Callable[[], object] = lambda: None,
) -> list[str]:
    """Run what has no row yet; return the names of the runs that failed.

    Args:
        folder: of the study; each run has a folder there, and leaves a row when it is done.
        runs: in order, a training before its tests.
        run_child: see `engine.seeds`; called with `output`, a file for what it prints.
        after: called after each run that is done, for a report of what is there.

    Raises:
        SystemExit: a run was stopped by a signal; the same call goes on with it.
    """
    rows, failed = read_rows(folder, runs), list[str]()
    left = [run for run in runs if run.name not in rows]
    spent = Clock([run.variant.minutes for run in left])
    with bar(total=len(left), what="runs", bar_format="{desc} {bar} {n}/{total}") as shown:
        for place, run in enumerate(left):
            shown.set_description(f"{run.name}, {spent.left(place)} left")
            if run.needed in failed:
                logger.error("%s is left out, as %s failed.", run.name, run.needed)
                failed.append(run.name)
            elif status := run_one(folder, run, run_child):
                if status in STOPPED:
                    logger.info("Stopped in %s; the same command goes on.", run.name, extra=SHOWN)
                    sys.exit(status)
                where = os.path.join(folder, run.name, LOG)
                logger.error("%s failed with exit status %d: see %s.", run.name, status, where)
                failed.append(run.name)
            else:
                after()
            shown.update()
            told = (run.name, place + 1, len(left), spent.left(place + 1))
            logger.info("%s: %d of %d, about %s left", *told, extra=SHOWN)
    return failed


class Clock:
    """How long the rest of a queue takes, from what each was said to take and what they took."""

    def __init__(self, minutes: Sequence[float]) -> None:
        self.minutes, self.start = minutes, time.monotonic()

    def left(self, done: int) -> str:
        """Return the time that all but the first `done` take, as text."""
        passed, said = (time.monotonic() - self.start) / 60, sum(self.minutes[:done])
        minutes = round(sum(self.minutes[done:]) * (passed / said if said else 1.0))
        return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def run_one(folder: str, run: Run, run_child: Callable[..., int] = run_child) -> int:
    """Run in a process, and write the row; return the exit status."""
    place = os.path.join(folder, run.name)
    os.makedirs(place, exist_ok=True)
    command = run.command(folder)
    with open(os.path.join(place, LOG), "a", encoding="utf-8") as log:
        print(f"$ centernet-d2 {shlex.join(command)}", file=log, flush=True)
        if status := run_child([*PROGRAM, *command], output=log):
            return status
    found = Path(result_folder(place, bool(run.needed)), RESULTS_FILE)
    row = {"variant": run.variant.name, "seed": run.seed, "words": run.words()}
    row |= {"scores": json.loads(found.read_text(encoding="utf-8"))}
    row |= {"date": datetime.now(UTC).date().isoformat()}
    if run.needed:
        (times,) = json.loads(found.with_name(TIMING_FILE).read_text("utf-8"))["datasets"].values()
        row["scores"]["speed"] = {"ms": times["ms_per_picture"]["detector"]["median"]}
    else:
        row |= learning(os.path.join(place, "metrics.json"))
    write_json(os.path.join(folder, ROWS, f"{run.name}.json"), row, indent=1)
    return 0


def learning(file: str) -> dict[str, Any]:
    """Return the minutes that a training took, without its tests, and AP by task at those minutes.

    They are steps times the median step: what a busy machine or a pause adds is no part of them.
    """
    series = read_metrics(file)
    step = statistics.median(series["time"][1]) / 60
    scores = {name: found for name, found in series.items() if name.endswith("/AP")}
    curves = {
        name: [((iteration + 1) * step, value) for iteration, value in zip(*found, strict=True)]
        for name, found in scores.items()
    }
    last = max(curve[-1][0] for curve in curves.values())
    return {"minutes": last, "minutes_AP": curves}
