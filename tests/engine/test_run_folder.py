"""A run's folder belongs to one run: refused, moved aside or resumed, and never mixed."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from centernet_d2.engine.run_folder import (
    file_to_resume,
    move_aside,
    refuse_used_folder,
    traces_of_run,
)
from centernet_d2.engine.trainer import Trainer

from .test_run import call, command  # noqa: F401
from .test_trainer import train


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def make_run(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        *("metrics.json", "results.json", "last_checkpoint", "model_0000999.pth"),
        *("model_final.pth", "model_best.pth", "model_last.pth"),
    ],
)
def test_what_tells_a_run(tmp_path, name):
    folder = make_run(tmp_path / "out", "log.txt", "config.yaml", "notes.txt", "model_zoo.pth")
    make_run(folder, "inference/results.json", "old_1/last_checkpoint")  # of an evaluation, aside
    (folder / "metrics.json").touch()  # of a training that stopped before its first step
    refuse_used_folder(str(folder))
    make_run(folder, name)
    assert traces_of_run(str(folder)) == [name]
    with pytest.raises(FileExistsError) as caught:
        refuse_used_folder(str(folder))
    words = (str(folder), name, "--resume", "another OUTPUT_DIR", "old_1", "--overwrite")
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_run_is_moved_whole_and_other_files_stay(tmp_path):
    own = [
        "config.yaml",
        "results.csv",
        "log.txt",
        "log.txt.rank1",
        "metrics.json",
        "last_checkpoint",
    ]
    own += ["model_0000009.pth", "model_final.pth", "model_best.pth", "model_best.json"]
    own += ["events.out.tfevents.1.host", "results.json", "inference/boxes.json"]
    others = ["notes.txt", "seed_0/model_final.pth", "model_zoo.pth", "my.yaml"]
    folder = make_run(tmp_path / "out", *own, *others)
    assert move_aside(str(folder)) == str(folder / "old_1")
    assert sorted(content(folder / "old_1")) == sorted(own)
    assert sorted(content(folder)) == sorted([*others, *(f"old_1/{name}" for name in own)])
    assert move_aside(str(folder)) == ""  # there is none any more
    make_run(folder, "last_checkpoint")
    assert move_aside(str(folder)) == str(folder / "old_2")
    assert move_aside(str(tmp_path / "nowhere")) == ""


def test_what_the_new_run_needs_is_not_moved(tmp_path):
    folder = make_run(tmp_path / "out", "model_final.pth", "config.yaml")
    for name in ("model_final.pth", "config.yaml"):
        spelling = os.path.join(folder, "..", "out", name)
        with pytest.raises(FileExistsError, match=rf"{name}' is part of the run"):
            move_aside(str(folder), needed=("", spelling))
    assert sorted(content(folder)) == ["config.yaml", "model_final.pth"]


def test_the_program_refuses_before_it_writes(command, tmp_path, capsys):  # noqa: F811
    folder = tmp_path / "run"
    call(command("SOLVER.MAX_ITER", "1", "DATASETS.TEST", "()"))
    for name in ("centernet_d2", "detectron2", "fvcore"):
        for handler in logging.getLogger(name).handlers:
            handler.flush()
    before = content(folder)
    with pytest.raises(FileExistsError, match=r"metrics\.json, model_final\.pth.*--overwrite"):
        call(command("SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()"))
    assert content(folder) == before

    args = command("SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()")
    call(args, overwrite=True)
    before.pop("log.txt")  # in one process the loggers go on with an open file
    moved = content(folder / "old_1")
    moved.pop("log.txt")
    assert moved == before
    assert f"The earlier run in {folder} is now in {folder / 'old_1'}." in capsys.readouterr().out
    with pytest.raises(ValueError, match="give one"):
        call([*args[:2], "--resume", *args[2:]], overwrite=True)


def test_a_trainer_refuses_too(config):
    cfg = config("DATASETS.TEST", (), "SOLVER.MAX_ITER", 1)
    train(cfg)
    with pytest.raises(FileExistsError, match=r"run_folder\.move_aside"):
        Trainer(cfg).train()
    move_aside(cfg.OUTPUT_DIR)
    train(cfg)


def test_nothing_to_resume_is_told(config, tmp_path, caplog):
    make_run(tmp_path / "run", "metrics.json")
    train(config("DATASETS.TEST", (), "SOLVER.MAX_ITER", 1), resume=True)
    told = f"OUTPUT_DIR '{tmp_path / 'run'}' (it has no checkpoint): a new run starts."
    assert told in caplog.text


def test_the_only_checkpoint_is_gone(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        file_to_resume(str(make_run(tmp_path, "model_best.pth")), str(tmp_path / "model_last.pth"))
    assert str(caught.value) == (
        f"'{tmp_path / 'last_checkpoint'}' names 'model_last.pth', which is not there. No other is "
        "there: start a new run in another OUTPUT_DIR or with --overwrite."
    )


@pytest.mark.parametrize("tagged", [True, False])
def test_a_checkpoint_that_is_gone_is_told_with_those_that_are_there(config, tmp_path, tagged):
    make_run(tmp_path / "run", "model_0000099.pth", "model_best.pth", "metrics.json")
    if tagged:
        (tmp_path / "run" / "last_checkpoint").write_text("model_0000199.pth")
    trainer = Trainer(config("DATASETS.TEST", ()))
    with pytest.raises(FileNotFoundError) as caught:
        trainer.resume_or_load(resume=True)
    says = "names 'model_0000199.pth', which is not there" if tagged else "is missing"
    file = tmp_path / "run" / "last_checkpoint"
    assert f"'{file}' {says}. There are: model_0000099.pth. Write" in str(caught.value)
