from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from centernet_d2.analysis import report
from centernet_d2.engine.trainer import Trainer

from .small_world import write_dataset


def trained(cfg) -> Path:
    Trainer(cfg).train()
    return Path(cfg.OUTPUT_DIR)


def test_a_training_leaves_a_report_of_its_test_set(config, caplog):
    caplog.set_level(logging.INFO)
    folder = trained(config("SOLVER.MAX_ITER", 2, "LOGGING.REPORT", True))
    numbers = json.loads((folder / "report.json").read_text())
    scores = json.loads((folder / "inference" / "coco_scores.json").read_text())["scores"]
    assert (numbers["images"], numbers["all classes"]["objects"]) == (10, 15)
    assert numbers["scores"]["bbox"]["AR100"] == pytest.approx(scores["bbox"]["AR100"])
    assert sum(map(sum, numbers["confusion"])) >= 15
    page = (folder / "report.html").read_text()
    assert not re.search(r"(src|href)=.(?!data:image)", page)  # opens without a network
    assert page.count("<img") == len(list((folder / "report").iterdir())) > 10
    assert (folder / "report" / "training.png").stat().st_size > 5000
    assert f"Report: {folder / 'report.html'}" in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


@pytest.mark.parametrize("overrides", [("LOGGING.REPORT", False), ("DATASETS.TEST", ())])
def test_no_report_where_none_is_wanted_or_nothing_is_tested(config, overrides):
    folder = trained(config("SOLVER.MAX_ITER", 1, "LOGGING.REPORT", True, *overrides))
    assert not list(folder.glob("report*"))


def test_a_report_that_fails_does_not_fail_the_training(config, monkeypatch, caplog):
    monkeypatch.setattr(report.matching, "confusion", lambda *_: 1 / 0)
    folder = trained(config("SOLVER.MAX_ITER", 1, "LOGGING.REPORT", True))
    (warned,) = [r for r in caplog.records if r.message.startswith("No report")]
    assert re.match(r"No report of 'boxes_\w+' is left \(ZeroDivisionError: .*\)\.", warned.message)
    assert (folder / "model_final.pth").is_file()
    assert not (folder / "report.html").exists()


def test_of_two_test_sets_each_has_its_report(config, dataset, tmp_path):
    other = write_dataset(tmp_path / "other", images=4, seed=1)
    cfg = config("SOLVER.MAX_ITER", 1, "LOGGING.REPORT", True, "DATASETS.TEST", (dataset, other))
    pages = sorted((trained(cfg) / "inference").glob("*/report.json"))
    assert sorted(json.loads(page.read_text())["images"] for page in pages) == [4, 10]
