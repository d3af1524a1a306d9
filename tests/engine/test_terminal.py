"""What a command says on the terminal, and what it leaves to the log."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import warnings

import pytest

from centernet_d2 import quiet
from centernet_d2.engine.terminal import start_logging
from centernet_d2.progress import SHOWN

from .small_world import ROOT


@pytest.fixture(scope="module")
def said(dataset, tmp_path_factory):
    """Output and log of a training of 6 iterations and two evaluations, as a command."""
    from .small_world import small_config

    folder = tmp_path_factory.mktemp("said")
    file, run = folder / "small.yaml", folder / "run"
    more = ("TEST.EVAL_PERIOD", 3, "MODEL.DEVICE", "cuda", "SOLVER.LR_SCHEDULER_NAME")
    file.write_text(small_config(dataset, run, *more, "WarmupCosineLR").dump())
    program = [sys.executable, "tools/train_net.py", "--config-file", str(file)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "FORCE_COLOR": "1"}
    options = {"capture_output": True, "text": True, "cwd": ROOT, "timeout": 300}
    done = subprocess.run(program, env=environment, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done, (run / "log.txt").read_text(), run


def test_the_terminal_gets_what_a_person_needs(said):
    done, _, run = said
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    first = next(number for number, line in enumerate(lines) if line.startswith("iteration 5 of 6"))
    head = "\n".join(lines[:first])
    assert first <= 25
    for text in (
        r"^Training data boxes_\w+: 10 images, 15 objects of 2 classes: \w+ \d+, \w+ \d+\.$",
        r"^Evaluation data boxes_\w+: 10 images, 15 objects of 2 classes: ",
        r"^Network: PointsCenterNet, backbone EncoderDecoder, 0\.0\d million .*, from scratch$",
        r"^Frame: training 32 x 32 \(height x width\); evaluation no augmentation / keep_res$",
        r"^Device: cpu, \d+ threads? \(.*$",
        r"^10 images, 4 per step, 2 iterations per epoch\.$",
        r"^Learning rate 0\.01, lowered along a cosine; 6 iterations \(about 2\.4 epochs\); ",
        rf"^Written to {re.escape(str(run))}: ",
        r"^Stopped, it goes on by: \S+ tools/train_net\.py --resume --config-file \S+small\.yaml$",
    ):
        assert len(re.findall(text, head, re.MULTILINE)) == 1, text
    period = (
        r"^iteration 6 of 6, ETA 0:00:00, loss [\d.]+ \(heatmap [\d.]+, offset [\d.]+, size "
        r"[\d.]+\), lr [\d.e-]+, [\d.]+ images/s, \d+ ms for data$"
    )
    assert len(re.findall(period, done.stdout, re.MULTILINE)) == 1
    assert lines[-1] == f"6 iterations are done: {run / 'model_final.pth'}"


def test_each_evaluation_has_one_table(said):
    done, log, _ = said
    assert done.stdout.count("|   AP |   AP50 |") == log.count("|   AP |   AP50 |") == 2
    assert "Average Precision" not in done.stdout
    assert log.count("Average Precision") == 12  # six lines of each
    assert "copypaste" not in done.stdout


def test_the_log_has_all(said):
    done, log, _ = said
    for text in (
        "Running with full config:",
        "  EVAL_PERIOD: 3",
        "Environment info:",
        "Model:\nPointsCenterNet(",
        "detectron2.evaluation.evaluator INFO: Start inference on 10 batches",
    ):
        assert text in log
    for line in done.stdout.splitlines():
        assert line.removeprefix("warning: ") in log


def test_results_have_a_row_per_evaluation(said):
    header, *rows = (said[2] / "results.csv").read_text().splitlines()
    assert header.startswith("iteration,epoch,total_loss,loss_heatmap,loss_offset,loss_size,lr,")
    assert "bbox/AP,bbox/AP50" in header
    assert [row.split(",")[:2] for row in rows] == [["3", "1.2"], ["6", "2.4"]]


@pytest.mark.parametrize(
    ("name", "level", "marked", "with_file", "without"),
    [
        ("centernet_d2", logging.INFO, False, True, True),
        ("centernet_d2.engine.x", logging.INFO, False, False, True),
        ("centernet_d2.engine.x", logging.INFO, True, True, True),
        ("centernet_d2.engine.x", logging.WARNING, False, True, True),
        ("detectron2.x", logging.WARNING, False, False, False),
        ("fvcore.x", logging.INFO, True, True, True),
    ],
)
def test_what_is_shown(name, level, marked, with_file, without, tmp_path, capsys):
    logger, extra = logging.getLogger(name), SHOWN if marked else None
    prefix = "warning: " if level == logging.WARNING else ""
    for folder, shown in ((str(tmp_path), with_file), ("", without)):
        start_logging(folder)
        logger.log(level, "said by %s", name, extra=extra)
        assert capsys.readouterr().out == f"{prefix}said by {name}\n" * shown
    start_logging(str(tmp_path), verbose=True)
    logger.log(level, "again")
    assert capsys.readouterr().out == f"{prefix}again\n"
    start_logging(str(tmp_path), rank=1, verbose=True)
    logger.log(level, "of another")
    assert capsys.readouterr().out == ""
    assert "of another" in (tmp_path / "log.txt.rank1").read_text()
    log = (tmp_path / "log.txt").read_text()
    assert (log.count("said by"), log.count("again"), "of another" in log) == (1, 1, False)


def test_handlers_of_an_application_stay(tmp_path):
    mine = logging.NullHandler()
    for name in ("centernet_d2", "detectron2"):
        logging.getLogger(name).addHandler(mine)
    for folder in (tmp_path / "a", tmp_path / "b"):
        start_logging(str(folder))
    for name in ("centernet_d2", "detectron2"):
        handlers = logging.getLogger(name).handlers
        assert handlers[0] is mine
        assert len(handlers) == 3  # one file and one terminal, of the last run
    logging.getLogger("centernet_d2").info("late")
    assert "late" in (tmp_path / "b" / "log.txt").read_text()
    assert "late" not in (tmp_path / "a" / "log.txt").read_text()


def test_what_is_held_back_goes_to_the_log(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv(quiet.IN_CHILDREN, "")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)  # of a command that another test ran in this process
        quiet.hold_back()
        try:
            warnings.warn("looks like a fault", stacklevel=1)
            logging.getLogger("torch.utils.cpp_extension").warning("no CUDA runtime")
            start_logging(str(tmp_path))
            warnings.warn("later", stacklevel=1)
        finally:
            logging.captureWarnings(False)
            for name in quiet.LOGGERS:
                logging.getLogger(name).handlers.clear()
                logging.getLogger(name).propagate = True
    assert capfd.readouterr() == ("", "")
    log = (tmp_path / "log.txt").read_text()
    assert [log.count(t) for t in ("looks like a fault", "no CUDA runtime", "later")] == [2, 1, 2]
