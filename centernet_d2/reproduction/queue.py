"""The runs of a study, one after the other, each a process and a row; what is there is kept."""

import json
import logging
import os
import shlex
import signal
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

    Each has a folder in that of the study, and leaves a row when it is done. SystemExit: one was
    stopped by a signal; the same call goes on with it. `run_child` is that of `engine.seeds`.
    """
    rows, failed, start = read_rows(folder, table, runs), list[str](), time.monotonic()
    write_json(Path(folder, STUDY_FILE), {"version": table.version, "scale": table.scale})
    left = [run for run in runs if run.name not in rows]
    minutes = [run.variant.minutes for run in left]
    with bar(total=len(left), what="runs", bar_format="{desc} {bar} {n}/{total}") as shown:
        for done, run in enumerate(left):
            rest = time_left(minutes, done, time.monotonic() - start)
            shown.set_description(f"{run.name}, {rest} left")
            told = (done + 1, len(left), rest, run.name)
            logger.info("%d of %d, about %s left: %s", *told, extra=SHOWN)
            status = -1 if run.needed in failed else run_one(folder, run, run_child)
            if status in STOPPED:
                logger.info("Stopped in %s; the same command goes on.", run.name, extra=SHOWN)
                sys.exit(status)
            if status:
                failed.append(run.name)
                why = f"failed with exit status {status}: see {Path(folder, run.name, LOG)}"
                told = why if status > 0 else f"is left out, as {run.needed} failed"
                logger.error("%s %s.", run.name, told)
            shown.update()
    return failed


def time_left(minutes: Sequence[float], done: int, seconds: float) -> str:
    """Return what a queue still takes: what each run was said to take, as fast as those `done`."""
    said = sum(minutes[:done])
    left = round(sum(minutes[done:]) * (seconds / 60 / said if said else 1.0))
    return f"{left // 60} h {left % 60} min" if left >= 60 else f"{left} min"


def run_one(folder: str, run: Run, run_child: Callable[..., int]) -> int:
    """Run in a process, and write the row; return the exit status."""
    place, command = Path(folder, run.name), run.command(folder)
    place.mkdir(parents=True, exist_ok=True)
    with (place / LOG).open("a", encoding="utf-8") as log:
        print(f"$ centernet-d2 {shlex.join(command)}", file=log, flush=True)
        if status := run_child([*PROGRAM, *command], output=log):
            return status
    results = Path(result_folder(str(place), bool(run.needed)))
    row = {"variant": run.variant.name, "seed": run.seed, "words": run.words()}
    row |= {"date": datetime.now(UTC).date().isoformat()}
    row["scores"] = json.loads((results / RESULTS_FILE).read_text("utf-8"))
    if run.needed:
        (times,) = json.loads((results / TIMING_FILE).read_text("utf-8"))["datasets"].values()
        row["scores"]["speed"] = {"ms": times["ms_per_picture"]["detector"]["median"]}
        row["timed_on"] = "{device}, batches of {batch}".format_map(times)
    else:
        row |= learning(str(place / "metrics.json"))
    write_json(Path(folder, ROWS, f"{run.name}.json"), row, indent=1)
    return 0


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
