"""Where a training's numbers go: trackers by stand-ins, and results.csv."""

from __future__ import annotations

import csv
import json
import logging
import re
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from detectron2.engine import HookBase
from detectron2.utils.events import EventStorage, EventWriter

from centernet_d2.engine.lazy import SETTINGS
from centernet_d2.engine.trainer import Trainer
from centernet_d2.engine.writers import WRITER_REGISTRY, add_result, check_writers, last_numbers


class Recorder:
    """Takes any call of a stand-in module and notes (name, arguments, keyword arguments)."""

    def __init__(self, calls, name=""):
        self.calls, self.name = calls, name

    def __getattr__(self, name):
        return Recorder(self.calls, f"{self.name}.{name}" if self.name else name)

    def __call__(self, *arguments, **named):
        self.calls.append((self.name, arguments, named))
        return Recorder(self.calls, self.name)


def stand_in(name, monkeypatch, **own) -> list:
    calls = []
    module = ModuleType(name)
    module.__getattr__ = lambda attribute: Recorder(calls, attribute)
    vars(module).update(own)
    monkeypatch.setitem(sys.modules, name, module)
    return calls


def train(config, *overrides, **hooks):
    changed = ("DATASETS.TEST", (), "SOLVER.MAX_ITER", 3, "VIS_PERIOD", 2, *overrides)
    trainer = Trainer(config(*changed))
    trainer.register_hooks(hooks.values())
    trainer.resume_or_load(resume=False)
    trainer.train()


class Fails(HookBase):
    def after_step(self):
        if self.trainer.iter == 1:
            raise ValueError("half way")


def test_wandb_gets_config_scalars_pictures_and_the_end(config, monkeypatch):
    calls = stand_in("wandb", monkeypatch, Image=lambda picture: picture.shape)
    train(config, "LOGGING.WRITERS", ["wandb"])
    (begun, *logged, ended) = calls
    assert (begun[0], begun[2]["name"], begun[2]["project"]) == ("init", "run", "centernet_d2")
    assert begun[2]["config"]["SOLVER"]["MAX_ITER"] == 3
    assert [(name, named["step"]) for name, _, named in logged] == [
        ("init.log", 1),
        ("init.log", 2),
    ]
    ((pictures,), (scalars,)) = (arguments for _, arguments, _ in logged)
    (shape,) = pictures.values()
    assert shape[2] == 3
    assert {"total_loss", "loss_heatmap", "lr"} <= set(scalars)
    assert ended == ("init.finish", (), {"exit_code": 0})


@pytest.mark.parametrize(
    ("name", "own", "begins", "ends"),
    [
        ("wandb", {}, "init", ("init.finish", (), {"exit_code": 1})),
        ("mlflow", {"active_run": lambda: None}, "set_experiment", ("end_run", ("FAILED",), {})),
        ("clearml", {}, "Task.init", ("Task.init.close", (), {})),
    ],
)
def test_a_training_that_fails_ends_its_run_so(name, own, begins, ends, config, monkeypatch):
    calls = stand_in(name, monkeypatch, **own)
    with pytest.raises(ValueError, match="half way"):
        train(config, "LOGGING.WRITERS", [name], hook=Fails())
    assert calls[0][0] == begins
    assert calls.count(ends) == 1
    assert calls[-1] == ends
    assert (name != "clearml") or calls[-2][0] == "Task.init.mark_failed"


def test_mlflow_and_clearml_get_numbers_and_pictures(config, monkeypatch):
    mlflow = stand_in("mlflow", monkeypatch, active_run=lambda: None)
    clearml = stand_in("clearml", monkeypatch)
    train(config, "LOGGING.WRITERS", ["mlflow", "clearml"])
    parameters = [key for name, a, _ in mlflow if name == "log_params" for key in a[0]]
    assert "SOLVER.BASE_LR" in parameters
    assert max(len(a[0]) for name, a, _ in mlflow if name == "log_params") == 100
    numbers = [(a[0], n["step"]) for name, a, n in mlflow if name == "log_metrics"]
    assert numbers[-1][1] == 2
    assert "total_loss" in numbers[-1][0]
    assert [a[1] for name, a, _ in mlflow if name == "log_image"] == [
        "objects_left_detections_right_0000001.png"
    ]
    assert mlflow[-1] == ("end_run", ("FINISHED",), {})
    scalars = [n for name, _, n in clearml if name.endswith("report_scalar")]
    titles = {(n["title"], n["series"]) for n in scalars if n["iteration"] == 2}
    assert {("losses", "loss_heatmap"), ("lr", "lr")} <= titles
    assert [n["iteration"] for name, _, n in clearml if name.endswith("report_image")] == [1]


@pytest.mark.parametrize("at", ["init", "log"])
def test_a_tracker_out_of_reach_is_told_once_and_stops_nothing(at, config, monkeypatch, caplog):
    def refuse(*_, **__):
        raise ConnectionError(f"no network at {at} in {config().OUTPUT_DIR}")

    run = SimpleNamespace(log=refuse, finish=refuse)
    stand_in("wandb", monkeypatch, init=refuse if at == "init" else lambda **_: run)
    train(config, "LOGGING.WRITERS", ["wandb"], "VIS_PERIOD", 0)
    told = [m for m in caplog.messages if "no network" in m]
    assert len(told) == 1
    assert told[0].startswith(f"WandbWriter: ConnectionError: no network at {at}")
    assert told[0].endswith("The training goes on without it.")


def test_names_are_checked_before_anything_is_built(config, monkeypatch):
    with pytest.raises(ValueError, match="names 'tensorbord'; known are clearml, mlflow, wandb"):
        Trainer(config("LOGGING.WRITERS", ["tensorbord"]))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'centernet-d2\[mlflow\]'"):
        check_writers(config("LOGGING.WRITERS", ["mlflow"]))
    assert SETTINGS["train.writers"] == "LOGGING.WRITERS"


def test_a_writer_of_ones_own(config):
    class Mine(EventWriter):
        written = 0

        def __init__(self, cfg):
            assert cfg.SOLVER.MAX_ITER == 3

        def write(self):
            Mine.written += 1

    WRITER_REGISTRY._do_register("mine", Mine)
    try:
        train(config, "LOGGING.WRITERS", ["mine"])
    finally:
        del WRITER_REGISTRY._obj_map["mine"]
    assert Mine.written == 2  # after the last step, and at the end


def test_rows_grow_columns_and_replace_what_is_trained_again(tmp_path):
    file = str(tmp_path / "results.csv")
    for row in (
        {"iteration": 10, "AP": 1.23456789},
        {"iteration": 1234567, "AP": 2.0},
        {"iteration": 2000000, "AP": np.nan},
        {"iteration": 1234567, "AP": 4.0, "AR": 5.0},  # resumed from before
    ):
        add_result(file, row)
    with open(file, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows == [
        {"iteration": "10", "AP": "1.23457", "AR": ""},
        {"iteration": "1234567", "AP": "4", "AR": "5"},
    ]


def test_an_own_evaluation_may_give_nothing():
    assert last_numbers(EventStorage(), None) == {}


def test_a_line_per_period(config, tmp_path):
    train(config, "LOGGING.PERIOD", 2, "SOLVER.MAX_ITER", 5)
    lines = (tmp_path / "run" / "metrics.json").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [1, 3, 4]


@pytest.mark.parametrize(("period", "lines"), [(3, [3, 6, 7]), (20, [5, 7])])
def test_long_periods_alone_have_a_line_after_five_steps(period, lines, config, caplog):
    caplog.set_level(logging.INFO)
    train(config, "LOGGING.PERIOD", period, "SOLVER.MAX_ITER", 7)
    assert [int(n) for n in re.findall(r"iteration (\d+) of 7,", caplog.text)] == lines
