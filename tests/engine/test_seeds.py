"""Several seeds of one config: the summary, the series of runs, and the program."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from detectron2.config import LazyConfig
from detectron2.engine import default_argument_parser

from centernet_d2 import cli
from centernet_d2.cli.train import without_seeds
from centernet_d2.engine import seeds
from centernet_d2.engine.run import plain_scores, run
from centernet_d2.engine.seeds import Spread, run_seeds, summarize, summary_table
from centernet_d2.engine.setup import load_config

from .small_world import ROOT

TRAIN_NET = ROOT / "tools" / "train_net.py"


# ------------------------------------------------------------------------------------- the numbers
def test_summary_is_mean_and_sample_deviation_of_what_is_known():
    values = np.random.default_rng(0).uniform(0, 100, (5, 2))
    results = [{"bbox": {"AP": one}, "bev": {"AP40": other}} for one, other in values.tolist()]
    summary = summarize(results)
    for i, (task, metric) in enumerate((("bbox", "AP"), ("bev", "AP40"))):
        found = summary[task][metric]
        assert found.mean == pytest.approx(values[:, i].mean(), rel=1e-12)
        assert found.deviation == pytest.approx(values[:, i].std(ddof=1), rel=1e-12)
        assert (found.values, found.count) == (tuple(values[:, i]), 5)

    results = [
        {"bbox": {"AP": 1.0, "APs": math.nan}},
        {"bbox": {"AP": 3.0, "APs": None}, "bev": {"AP40": 5.0}},
        {"bbox": {"APs": math.nan}},
    ]
    assert summarize(results) == {
        "bbox": {
            "AP": Spread(2.0, math.sqrt(2), (1.0, 3.0, None), 2),
            "APs": Spread(None, None, (None, None, None), 0),
        },
        "bev": {"AP40": Spread(5.0, None, (None, 5.0, None), 1)},
    }
    assert summarize([]) == {}


def test_table_has_a_row_for_each_known_metric():
    key = "AP40-Car-moderate"
    results = [{"bev_loose": {key: value, "AP11": math.nan}} for value in (48.9, 51.2, 53.5)]
    header, _, *rows = summary_table(summarize(results)).splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")][:3] == ["task", "metric", "mean"]
    assert [cell.strip() for cell in rows[0].strip("|").split("|")] == [
        *("bev_loose", key, "51.20", "± 2.30", "3 of 3")
    ]
    assert len(rows) == 1


def test_scores_as_json_holds_them():
    one = {"bbox": {"AP": np.float64(3), "APs": math.nan, "AR": math.inf, "note": "text"}}
    expected = {"AP": 3.0, "APs": None, "AR": None}
    assert plain_scores(one) == {"bbox": expected}
    assert plain_scores({"one_val": one, "two_val": {"segm": {"AP": 1}}}) == {
        "one_val/bbox": expected,
        "two_val/segm": {"AP": 1.0},
    }


# -------------------------------------------------------------------------------------- the series
class Series:
    """Runs of a series without training: a child notes its command and leaves its results."""

    def __init__(self, config_file: Path, folder: Path) -> None:
        self.config_file, self.folder = config_file, folder
        self.commands: list[list[str]] = []
        self.failing: dict[int, int] = {}  # seed -> exit status

    def __call__(self, count: int, *arguments: str):
        arguments = ["--config-file", str(self.config_file), *arguments]
        parser = default_argument_parser()
        parser.add_argument("--overwrite", action="store_true")
        args = parser.parse_args(arguments)
        self.commands.clear()
        return run_seeds(count, args, command=["train", *arguments], run_child=self.child)

    def child(self, command) -> int:
        self.commands.append(list(command))
        words = [word for word in command[1:] if word != "--overwrite"]
        args = default_argument_parser().parse_args(words)
        given = dict(zip(args.opts[::2], args.opts[1::2], strict=True))
        seed, folder = int(given["SEED"]), Path(given["OUTPUT_DIR"])
        (folder / "results.json").unlink(missing_ok=True)
        if seed in self.failing:
            return self.failing[seed]
        folder = folder / "inference" if args.eval_only else folder
        folder.mkdir(parents=True, exist_ok=True)
        if not args.eval_only:
            cfg = seeds.setup(load_config(args.config_file, args.opts))
            (folder / "config.yaml").write_text(cfg.dump())
        (folder / "results.json").write_text(json.dumps({"bbox": {"AP": 10.0 * seed}}))
        return 0

    @property
    def ran(self) -> list[str]:
        return [command[command.index("OUTPUT_DIR") + 1][-1] for command in self.commands]


@pytest.fixture
def series(config, tmp_path):
    """A series over the small config, in tmp_path/run; its SEED is 7."""
    file = tmp_path / "small.yaml"
    file.write_text(config().dump())
    return Series(file, tmp_path / "run")


def test_arguments_of_every_seed(series):
    summary = series(3, "--num-gpus", "2", "SOLVER.MAX_ITER", "3")
    common = ["train", "--config-file", str(series.config_file), "--num-gpus", "2"]
    assert series.commands == [
        [
            *common,
            *("SOLVER.MAX_ITER", "3", "SEED", str(seed)),
            *("OUTPUT_DIR", str(series.folder / f"seed_{seed}")),
        ]
        for seed in (7, 8, 9)
    ]
    assert summary["bbox"]["AP"] == Spread(80.0, 10.0, (70.0, 80.0, 90.0), 3)
    assert json.loads((series.folder / "seeds.json").read_text()) == {
        "seeds": [7, 8, 9],
        "results": {
            "bbox": {
                "AP": {"mean": 80.0, "deviation": 10.0, "values": [70.0, 80.0, 90.0], "count": 3}
            }
        },
    }


def test_seeds_start_at_zero_where_none_is_set(series):
    series(2, "SEED", "-1")
    assert [command[-4:-2] for command in series.commands] == [["SEED", "0"], ["SEED", "1"]]
    with pytest.raises(ValueError, match=r"DATASETS\.TEST is empty"):
        series(2, "DATASETS.TEST", "()")
    assert series.commands == []  # said before training


def test_a_seed_that_fails_stops_the_series_and_resume_goes_on(series, caplog):
    series.failing = {8: 3}
    with pytest.raises(SystemExit) as caught:
        series(3)
    assert caught.value.code == 3
    assert series.ran == ["7", "8"]
    assert not (series.folder / "seeds.json").exists()
    said = caplog.messages[-1]
    words = ("Seed 8", "status 3", str(series.folder / "seed_8"), "--resume")
    assert [word for word in words if word not in said] == []

    series.failing = {}
    summary = series(3, "--resume")
    assert series.ran == ["8", "9"]  # 7 is finished
    assert all("--resume" in command for command in series.commands)
    assert summary["bbox"]["AP"].values == (70.0, 80.0, 90.0)


def test_resume_does_not_take_results_of_another_config(series):
    series(2)
    series(2, "--resume")
    assert series.ran == []
    series(3, "--resume")  # one more
    assert series.ran == ["9"]
    series(2, "--resume", "SOLVER.MAX_ITER", "9")
    assert series.ran == ["7", "8"]


def test_an_earlier_series_is_refused_or_moved_aside(series):
    series(3)
    trained = (series.folder / "seeds.json").read_bytes()
    shutil.rmtree(series.folder / "seed_7")
    with pytest.raises(FileExistsError, match=r"seed_8.*--resume.*another OUTPUT_DIR.*--overwrite"):
        series(3)
    assert series.commands == []  # nor is the first seed begun, whose folder is free
    assert (series.folder / "seeds.json").read_bytes() == trained
    series.failing = {7: 1}
    with pytest.raises(SystemExit):
        series(3, "--overwrite")
    assert not (series.folder / "seeds.json").exists()
    moved = [f"seed_{seed}/old_1/{n}" for seed in (8, 9) for n in ("config.yaml", "results.json")]
    assert [name for name in moved if not (series.folder / name).is_file()] == []
    series.failing = {}
    series(3, "--resume")
    assert series.ran == ["7", "8", "9"]
    with pytest.raises(ValueError, match="give one"):
        series(3, "--resume", "--overwrite")


def test_a_plain_run_in_the_folder_of_a_series_is_refused_or_moved_aside(series):
    series.folder.mkdir()
    (series.folder / "last_checkpoint").touch()
    with pytest.raises(FileExistsError, match=r"run' holds a run already \(last_checkpoint\)"):
        series(2)
    assert series.commands == []
    series(2, "--overwrite")
    assert (series.folder / "old_1" / "last_checkpoint").exists()
    assert series.ran == ["7", "8"]


def test_evaluation_of_every_seeds_own_weights(series, caplog):
    with pytest.raises(FileNotFoundError, match=r"seed_7.*seed_8.*--resume"):
        series(2, "--eval-only")
    series(2)
    trained = (series.folder / "seeds.json").read_bytes()
    weights = [series.folder / f"seed_{seed}" / "model_final.pth" for seed in (7, 8)]
    for file in weights:
        file.touch()
    series(2, "--eval-only", "TEST.FLIP", "True")
    assert [command[-2:] for command in series.commands] == [
        ["MODEL.WEIGHTS", str(file)] for file in weights
    ]
    assert (series.folder / "seeds.json").read_bytes() == trained
    found = json.loads((series.folder / "inference" / "seeds.json").read_text())
    assert found["results"]["bbox"]["AP"]["mean"] == 75.0

    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS.*no deviation"):
        series(2, "--eval-only", "MODEL.WEIGHTS", str(weights[0]))
    series.failing = {7: 2}
    with pytest.raises(SystemExit):
        series(2, "--eval-only")
    assert "evaluation again" in caplog.messages[-1]


def test_only_the_first_machine_summarises(series):
    series(2)
    (series.folder / "seeds.json").unlink()
    (series.folder / "seed_8" / "last_checkpoint").touch()
    assert series(2, "--num-machines", "2", "--machine-rank", "1") is None
    assert series.ran == ["7", "8"]
    assert not (series.folder / "seeds.json").exists()
    assert (series.folder / "seed_8" / "last_checkpoint").exists()  # the first machine's to remove


def test_exit_status_of_a_child():
    assert seeds.run_child([sys.executable, "-c", "raise SystemExit(5)"]) == 5
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert seeds.run_child([sys.executable, "-c", killed]) == 128 + signal.SIGKILL


def test_a_child_is_given_the_time_to_end_at_a_signal(tmp_path):
    waits = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), sys.exit(143)))\n"
        f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
        "time.sleep(60)"
    )

    def signal_when_ready():
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=signal_when_ready).start()
    assert seeds.run_child([sys.executable, "-c", waits]) == 143


def test_a_signal_while_a_child_starts_reaches_it(monkeypatch):
    def started(command, **given):
        child = popen(command, **given)
        os.kill(os.getpid(), signal.SIGTERM)  # before its number is known
        return child

    popen = seeds.subprocess.Popen
    monkeypatch.setattr(seeds.subprocess, "Popen", started)
    assert seeds.run_child([sys.executable, "-c", "import time; time.sleep(60)"]) == 143


# ------------------------------------------------------------------------------------- the program
def test_run_leaves_results_of_its_own_config_only(config, series):
    def call(*arguments: str):
        arguments = ["--config-file", str(series.config_file), *arguments]
        return run(default_argument_parser().parse_args(arguments))

    file = series.folder / "results.json"
    results = call("SOLVER.MAX_ITER", "1")
    assert json.loads(file.read_text()) == plain_scores(results)
    evaluated = ["--eval-only", "MODEL.WEIGHTS", str(series.folder / "model_final.pth")]
    call(*evaluated)
    again = series.folder / "inference" / "results.json"
    assert json.loads(again.read_text())["bbox"].keys() == results["bbox"].keys()
    assert file.exists()
    call("--resume", "SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()")
    assert not file.exists()  # nothing was evaluated


def test_options_of_the_program(capsys):
    arguments = ["--config-file", "a.yaml", "--seeds", "5", "--resume", "SEED", "3", "A", "-1"]
    args = cli.parse("train", arguments)
    rest = ["--config-file", "a.yaml", "--resume", "SEED", "3", "A", "-1"]
    assert without_seeds(args.command[1]) == rest
    assert (args.seeds, args.resume, args.opts) == (5, True, ["SEED", "3", "A", "-1"])
    arguments = ["--config-file", "a.yaml", "--import", "a.b", "--import", "c.py"]
    args = cli.parse("train", arguments)
    assert (args.seeds, args.imports, args.command[1]) == (None, ["a.b", "c.py"], arguments)
    for wrong in (["--seed", "42"], ["--seeds", "0"], ["--seeds", "-1"], ["--seeds"]):
        with pytest.raises(SystemExit):
            cli.parse("train", wrong)
    with pytest.raises(SystemExit):
        cli.parse("train", ["--help"])
    shown = capsys.readouterr().out
    assert "--seeds N" in shown
    assert "--import MODULE" in shown


@pytest.mark.slow
def test_program_with_two_seeds(series, tmp_path):
    command = [sys.executable, str(TRAIN_NET), "--config-file", str(series.config_file)]
    done = subprocess.run(
        [*command, "--seeds", "2", "SOLVER.MAX_ITER", "3"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    folders = [series.folder / f"seed_{seed}" for seed in (7, 8)]
    results = [json.loads((folder / "results.json").read_text()) for folder in folders]
    found = json.loads((series.folder / "seeds.json").read_text())
    assert found["seeds"] == [7, 8]
    for metric, values in found["results"]["bbox"].items():
        assert values["values"] == [scores["bbox"][metric] for scores in results]
    assert "| bbox   | AP50 " in done.stdout
    for seed, folder in zip((7, 8), folders, strict=True):
        assert f"Seed {seed}; starting at image 0" in (folder / "log.txt").read_text()

    series(2, "--resume", "SOLVER.MAX_ITER", "3")
    assert series.commands == []  # both are finished


def test_seeds_of_a_lazy_config(tmp_path):
    ran = []

    def child(command) -> int:
        args = default_argument_parser().parse_args(command)
        job = seeds.read_job(args)
        folder = Path(job.cfg.OUTPUT_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        LazyConfig.save(job.saved(), str(folder / "config.yaml"))
        (folder / "results.json").write_text(json.dumps({"bbox": {"AP": 10.0 * job.cfg.SEED}}))
        ran.append(f"{folder.name} of {job.cfg.SEED}, {job.cfg.SOLVER.MAX_ITER} steps")
        return 0

    def series(*arguments: str):
        file = str(ROOT / "configs" / "lazy" / "points_tiny.py")
        command = ["--config-file", file, *arguments, f"train.output_dir={tmp_path}"]
        args = default_argument_parser().parse_args(command)
        return run_seeds(2, args, command=command, run_child=child)

    first = ["seed_0 of 0, 5 steps", "seed_1 of 1, 5 steps"]
    assert series("train.max_iter=5")["bbox"]["AP"].values == (0.0, 10.0)
    series("--resume", "train.max_iter=5")  # all are finished
    assert ran == first
    series("--resume", "train.max_iter=6")
    assert ran == [*first, "seed_0 of 0, 6 steps", "seed_1 of 1, 6 steps"]
    with pytest.raises(ValueError, match="each seed's own weights"):
        series("--eval-only", "train.init_checkpoint=one.pth")
