"""Where a training's numbers go: trackers of experiments, and results.csv."""

import csv
import importlib.util
import os
import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml
from detectron2.config import CfgNode
from detectron2.engine import hooks
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils.events import EventStorage, EventWriter, get_event_storage
from detectron2.utils.file_io import PathManager
from fvcore.common.registry import Registry

from ..atomic_write import atomic_write
from ..config import flattened
from ..progress import tell_once
from .summary import PeriodPrinter

WRITER_REGISTRY = Registry("WRITER")
WRITER_REGISTRY.__doc__ = """
What LOGGING.WRITERS names. An entry is called as `entry(cfg)` and returns detectron2's
`EventWriter`; one that is a `Tracker` cannot stop a training.
"""
RESULTS_TABLE = "results.csv"
FIRST_STEPS = 5  # after which there is an estimate of the time left
_TRIES = 3  # faults of a tracker in a row that end its use
_PROJECT = "centernet_d2"


def check_writers(cfg: CfgNode) -> None:
    """Raise before anything is built where LOGGING.WRITERS names what is not there."""
    known = sorted(name for name, _ in WRITER_REGISTRY)
    for name in cfg.LOGGING.WRITERS:
        if name not in known:
            raise ValueError(
                f"LOGGING.WRITERS names '{name}'; known are {', '.join(known)}, and what is "
                "registered with centernet_d2.engine.writers.WRITER_REGISTRY."
            )
        if name in TRACKERS and name not in sys.modules and not importlib.util.find_spec(name):
            raise ImportError(
                f"LOGGING.WRITERS names '{name}', which is not installed: pip install "
                f"'centernet-d2[{name}]', or pip install {name}."
            )


class Tracker(EventWriter):
    """Sends scalars, pictures and the config; its faults are told once and never raised.

    After three in a row nothing more is sent. A subclass has `_open()`, which begins a run and
    sends `config`, `_send(iteration, scalars, pictures)`, whose iterations only grow and whose
    pictures are RGB (H, W, 3) uint8, and `_end(failed)`.
    """

    def __init__(self, cfg: CfgNode) -> None:
        self.folder, self.config = os.path.abspath(cfg.OUTPUT_DIR), yaml.safe_load(cfg.dump())
        self.run_name = os.path.basename(self.folder)
        self._is_open, self._last, self._faults = False, -1, 0

    def start(self) -> None:
        """Begin, before the first step."""
        self._is_open = True
        self._is_open = self._tried(self._open)

    def write(self) -> None:
        """Send what came since the last time; before the writer that takes the pictures away."""
        storage = get_event_storage()
        events: dict[int, tuple[dict, dict]] = defaultdict(lambda: ({}, {}))
        for name, (value, iteration) in storage.latest_with_smoothing_hint(20).items():
            events[iteration][0][name] = value
        for name, picture, iteration in storage._vis_data:
            events[iteration][1][name] = np.asarray(picture).transpose(1, 2, 0)
        for iteration in sorted(number for number in events if number > self._last):
            if self._tried(self._send, iteration, *events[iteration]):
                self._last = iteration

    def close(self) -> None:
        """End the run, once; as failed where an error is on its way."""
        error = sys.exc_info()[1]
        self._tried(self._end, isinstance(error, (Exception, KeyboardInterrupt, SystemExit)))
        self._is_open = False

    def _tried(self, act: Any, *arguments: Any) -> bool:
        if not self._is_open:
            return False
        try:
            act(*arguments)
        except Exception as error:
            if not self._faults:
                told = f"{type(self).__name__}: {type(error).__name__}: {error}"
                tell_once(f"{told}. The training goes on without it.")
            self._faults += 1
            self._is_open = self._faults < _TRIES
            return False
        self._faults = min(self._faults, 1)  # told is told
        return True


class WandbWriter(Tracker):
    """Weights & Biases, in the project WANDB_PROJECT of the environment, else centernet_d2."""

    def _open(self) -> None:
        import wandb

        where = {"project": os.environ.get("WANDB_PROJECT", _PROJECT), "dir": self.folder}
        self.run = wandb.init(name=self.run_name, config=self.config, **where)
        self.image = wandb.Image

    def _send(self, iteration, scalars, pictures) -> None:
        drawn = {name: self.image(picture) for name, picture in pictures.items()}
        self.run.log({**scalars, **drawn}, step=iteration)

    def _end(self, failed: bool) -> None:
        self.run.finish(exit_code=int(failed))


class MlflowWriter(Tracker):
    """MLflow, in MLFLOW_EXPERIMENT_NAME of the environment; inside an application's own run."""

    def _open(self) -> None:
        import mlflow

        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # not minutes in each write
        self.mlflow = mlflow
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT))
        mlflow.start_run(run_name=self.run_name, nested=mlflow.active_run() is not None)
        # Their texts are short, and a call takes 100 of them.
        values = [(key, str(value)[:500]) for key, value in flattened(self.config).items()]
        for first in range(0, len(values), 100):
            mlflow.log_params(dict(values[first : first + 100]))

    def _send(self, iteration, scalars, pictures) -> None:
        named = {re.sub(r"[^\w\-. /]", "_", name): value for name, value in scalars.items()}
        self.mlflow.log_metrics(named, step=iteration)
        for name, picture in pictures.items():
            file = re.sub(r"[^\w-]+", "_", f"{name} {iteration:07d}")
            self.mlflow.log_image(picture, f"{file}.png")

    def _end(self, failed: bool) -> None:
        self.mlflow.end_run("FAILED" if failed else "FINISHED")


class ClearmlWriter(Tracker):
    """ClearML, in the project CLEARML_PROJECT of the environment."""

    def _open(self) -> None:
        from clearml import Task

        where = {"project_name": os.environ.get("CLEARML_PROJECT", _PROJECT)}
        # It would take TensorBoard's numbers of itself, so that all came twice.
        own = {"auto_connect_frameworks": False, "auto_connect_arg_parser": False}
        self.task = Task.init(task_name=self.run_name, reuse_last_task_id=False, **where, **own)
        self.task.connect_configuration(self.config, name="config")

    def _send(self, iteration, scalars, pictures) -> None:
        to = self.task.get_logger()
        for name, value in scalars.items():
            title, _, series = name.rpartition("/")
            title = title or ("losses" if "loss" in name else name)
            to.report_scalar(title=title, series=series, value=value, iteration=iteration)
        for name, picture in pictures.items():
            to.report_image(title=name, series="picture", iteration=iteration, image=picture)

    def _end(self, failed: bool) -> None:
        if failed:
            self.task.mark_failed(status_reason="the training failed or was stopped")
        self.task.close()


TRACKERS = {"wandb": WandbWriter, "mlflow": MlflowWriter, "clearml": ClearmlWriter}
for _name, _tracker in TRACKERS.items():  # under the names of their packages, and our extras
    WRITER_REGISTRY._do_register(_name, _tracker)


class WriterHook(hooks.PeriodicWriter):
    """detectron2's, which starts trackers; of long periods, the first steps have a line too."""

    def before_train(self) -> None:
        for tracker in (w for w in self._writers if isinstance(w, Tracker)):
            tracker.start()

    def after_step(self) -> None:
        super().after_step()
        begun = self.trainer.iter + 1 - self.trainer.start_iter == FIRST_STEPS
        if begun and self._period > FIRST_STEPS:  # no line yet
            for writer in (w for w in self._writers if isinstance(w, PeriodPrinter)):
                writer.write()

    def close(self) -> None:
        """End the trackers' runs, also where a hook before this one fails."""
        for tracker in (w for w in self._writers if isinstance(w, Tracker)):
            tracker.close()


def last_numbers(storage: EventStorage, results: Mapping[str, Any] | None) -> dict[str, float]:
    """Return medians of the last 20 steps, and the scores of an evaluation."""
    known = storage.histories()
    row = {name: known[name].median(20) for name in known if "loss" in name}
    row |= {"lr": known["lr"].latest()} if "lr" in known else {}
    scores = flatten_results_dict(results or {})  # a subclass may evaluate in its own way
    return row | {name: float(value) for name, value in scores.items()}


def add_result(file: str, row: Mapping[str, float]) -> None:
    """Add an evaluation's row to a table whose columns may grow.

    Rows of the same "iteration" or later ones, of before the run was resumed, go.
    """
    rows: list[Mapping[str, Any]] = []
    if PathManager.isfile(file):
        with PathManager.open(file, "r") as stream:
            rows = [r for r in csv.DictReader(stream) if int(r["iteration"]) < row["iteration"]]
    short = {name: f"{value:.6g}" for name, value in row.items() if isinstance(value, float)}
    rows.append({**row, **short})
    with atomic_write(file, "w") as stream:
        columns = dict.fromkeys(name for each in rows for name in each)
        table = csv.DictWriter(stream, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
