"""Where a training's numbers go: trackers of experiments, and results.csv."""

from __future__ import annotations

import csv
import importlib.util
import logging
import os
import re
import sys
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml
from detectron2.config import CfgNode
from detectron2.engine import hooks
from detectron2.utils.events import EventWriter, get_event_storage
from detectron2.utils.file_io import PathManager
from fvcore.common.registry import Registry

from ..atomic_write import atomic_write
from ..config import flattened
from .summary import PeriodPrinter

logger = logging.getLogger(__name__)

WRITER_REGISTRY = Registry("WRITER")
WRITER_REGISTRY.__doc__ = """
What LOGGING.WRITERS names. An entry is called as `entry(cfg)` and returns detectron2's
`EventWriter`; one that is a `Tracker` cannot stop a training.
"""
PACKAGES = ("wandb", "mlflow", "clearml")  # names that are those of a package, and of our extra
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
        if name in PACKAGES and name not in sys.modules and not importlib.util.find_spec(name):
            raise ImportError(
                f"LOGGING.WRITERS names '{name}', but the package is not installed: "
                f"pip install 'centernet-d2[{name}]', or pip install {name}."
            )


class Tracker(EventWriter):
    """Sends scalars, pictures and the config to a tracker; its faults are warned of, never raised.

    A fault is told once; after three in a row nothing more is sent.
    """

    def __init__(self, cfg: CfgNode) -> None:
        self.folder = os.path.abspath(cfg.OUTPUT_DIR)
        self.run_name = os.path.basename(self.folder)
        self.config = yaml.safe_load(cfg.dump())
        self.is_open, self._last, self._faults = False, -1, 0

    @abstractmethod
    def open(self) -> None:
        """Begin a run of this name, and send the config."""

    @abstractmethod
    def send(
        self, iteration: int, scalars: Mapping[str, float], pictures: Mapping[str, np.ndarray]
    ) -> None:
        """Send numbers and RGB pictures (H, W, 3) uint8 of one iteration; iterations only grow."""

    @abstractmethod
    def end(self, *, failed: bool) -> None:
        """End the run."""

    def start(self) -> None:
        """Begin, before the first step."""
        self.is_open = self._tried(self.open)

    def write(self) -> None:
        """Send what came since the last time; before a writer that takes the pictures away."""
        storage = get_event_storage()
        events: dict[int, tuple[dict, dict]] = defaultdict(lambda: ({}, {}))
        for name, (value, iteration) in storage.latest_with_smoothing_hint(20).items():
            events[iteration][0][name] = value
        for name, picture, iteration in storage._vis_data:
            events[iteration][1][name] = np.asarray(picture).transpose(1, 2, 0)
        for iteration in sorted(number for number in events if number > self._last):
            if self.is_open and self._tried(self.send, iteration, *events[iteration]):
                self._last = iteration

    def close(self) -> None:
        """End the run; as failed where an error is on its way."""
        error = sys.exc_info()[1]
        failed = isinstance(error, (Exception, KeyboardInterrupt, SystemExit))
        if self.is_open:
            self.is_open = False
            self._tried(self.end, failed=failed)

    def _tried(self, act: Any, *arguments: Any, **named: Any) -> bool:
        try:
            act(*arguments, **named)
        except Exception as error:
            self._faults += 1
            if self._faults == 1:
                kind = type(error).__name__
                message = "%s: %s: %s. The training goes on without it."
                logger.warning(message, type(self).__name__, kind, error)
            self.is_open &= self._faults < _TRIES
            return False
        self._faults = min(self._faults, 1)  # told is told
        return True


class WandbWriter(Tracker):
    """Weights & Biases; its environment (WANDB_PROJECT, WANDB_MODE) decides where."""

    def open(self) -> None:
        """Begin a run in the project WANDB_PROJECT, else centernet_d2."""
        import wandb

        os.makedirs(self.folder, exist_ok=True)
        where = {"project": os.environ.get("WANDB_PROJECT", _PROJECT), "dir": self.folder}
        self.run, self.image = (
            wandb.init(name=self.run_name, config=self.config, **where),
            wandb.Image,
        )

    def send(self, iteration, scalars, pictures) -> None:
        """Send one step's."""
        drawn = {name: self.image(picture) for name, picture in pictures.items()}
        self.run.log({**scalars, **drawn}, step=iteration)

    def end(self, *, failed: bool) -> None:
        """End the run."""
        self.run.finish(exit_code=int(failed))


class MlflowWriter(Tracker):
    """MLflow; its environment (MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME) decides where."""

    def open(self) -> None:
        """Begin a run, inside one of the application's where there is one."""
        import mlflow

        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # not minutes in each write
        self.mlflow = mlflow
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT))
        mlflow.start_run(run_name=self.run_name, nested=mlflow.active_run() is not None)
        mlflow.log_dict(self.config, "config.yaml")
        # Parameters can be compared; their texts are short, and a call takes 100.
        values = [(key, str(value)[:500]) for key, value in flattened(self.config).items()]
        for first in range(0, len(values), 100):
            mlflow.log_params(dict(values[first : first + 100]))

    def send(self, iteration, scalars, pictures) -> None:
        """Send one step's."""
        named = {re.sub(r"[^\w\-. /]", "_", name): value for name, value in scalars.items()}
        self.mlflow.log_metrics(named, step=iteration)
        for name, picture in pictures.items():
            folder = re.sub(r"[^\w-]+", "_", name)
            self.mlflow.log_image(picture, f"{folder}/{iteration:07d}.png")

    def end(self, *, failed: bool) -> None:
        """End the run."""
        self.mlflow.end_run("FAILED" if failed else "FINISHED")


class ClearmlWriter(Tracker):
    """ClearML; its environment (CLEARML_PROJECT, CLEARML_OFFLINE_MODE) decides where."""

    def open(self) -> None:
        """Begin a task, that takes nothing of itself: TensorBoard's would come twice."""
        from clearml import Task

        self.task = Task.init(
            project_name=os.environ.get("CLEARML_PROJECT", _PROJECT),
            task_name=self.run_name,
            reuse_last_task_id=False,
            auto_connect_frameworks=False,
            auto_connect_arg_parser=False,
        )
        self.task.connect_configuration(self.config, name="config")

    def send(self, iteration, scalars, pictures) -> None:
        """Send one step's: "bbox/AP" is the curve AP of the plot bbox, a loss one of losses."""
        to = self.task.get_logger()
        for name, value in scalars.items():
            title, _, series = name.rpartition("/")
            title = title or ("losses" if "loss" in name else name)
            to.report_scalar(title=title, series=series, value=value, iteration=iteration)
        for name, picture in pictures.items():
            to.report_image(title=name, series="picture", iteration=iteration, image=picture)

    def end(self, *, failed: bool) -> None:
        """End the task."""
        if failed:
            self.task.mark_failed(status_reason="the training failed or was stopped")
        self.task.close()


@WRITER_REGISTRY.register()
def wandb(cfg: CfgNode) -> EventWriter:
    """Weights & Biases."""
    return WandbWriter(cfg)


@WRITER_REGISTRY.register()
def mlflow(cfg: CfgNode) -> EventWriter:
    """MLflow."""
    return MlflowWriter(cfg)


@WRITER_REGISTRY.register()
def clearml(cfg: CfgNode) -> EventWriter:
    """ClearML."""
    return ClearmlWriter(cfg)


class WriterHook(hooks.PeriodicWriter):
    """detectron2's, which starts trackers, and estimates the time left after the first steps."""

    def before_train(self) -> None:
        """Start the trackers."""
        for writer in self._writers:
            if isinstance(writer, Tracker):
                writer.start()

    def after_step(self) -> None:
        """Write where it is due."""
        super().after_step()
        if self.trainer.iter + 1 - self.trainer.start_iter == FIRST_STEPS:
            for writer in self._writers:
                if isinstance(writer, PeriodPrinter):
                    writer.write()

    def close(self) -> None:
        """End the trackers where a hook before this one has failed."""
        for writer in self._writers:
            if isinstance(writer, Tracker):
                writer.close()


def add_result(file: str, row: Mapping[str, float]) -> None:
    """Write an evaluation's row into a table that a resumed run goes on with, in columns that grow.

    Rows of the same "iteration" or a later one, which the run has left again, go.
    """
    rows: list[Mapping[str, Any]] = []
    if PathManager.isfile(file):
        with PathManager.open(file, "r") as stream:
            rows = [old for old in csv.DictReader(stream) if _is_before(old, row["iteration"])]
    rows.append({name: f"{value:.6g}" for name, value in row.items()})
    with atomic_write(file, "w") as stream:
        columns = dict.fromkeys(name for each in rows for name in each)
        table = csv.DictWriter(stream, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _is_before(row: Mapping[str, Any], iteration: float) -> bool:
    done = row.get("iteration") or ""
    return not done.isdigit() or int(done) < iteration
