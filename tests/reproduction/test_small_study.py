"""A study from end to end: real processes, a few steps, and the command that shows it."""

from __future__ import annotations

import json

import pytest

from centernet_d2 import cli
from centernet_d2.engine.seeds import run_child
from centernet_d2.reproduction.queue import read_rows, run_all
from centernet_d2.reproduction.table import read_table
from centernet_d2.synthetic.files import ensure_split
from centernet_d2.synthetic.registration import ANNOTATION_FILE, IMAGE_FOLDER
from centernet_d2.synthetic.settings import SplitSettings

TABLE = """
version: 1
speed_on: ""
rules: ""
learned: 0.0
same_within: 1.0
scales: {cpu: {factor: 1, keys: {SOLVER.IMS_PER_BATCH: 2, DATALOADER.NUM_WORKERS: 0}}}
keys:
  MODEL.DEVICE: "cpu"
  MODEL.ENCODER_DECODER.CHANNELS: [8, 8, 8, 8]
  LOGGING.REPORT: False
  TEST.FALSE_DISCOVERY: True
variants:
  base:
    config: "Shapes/points_tiny"
    needs: "mine"
    steps: 100
    keys: {DATASETS.TRAIN: ["{mine}"], DATASETS.TEST: ["{mine}"]}
  flip: {weights: "base", keys: {TEST.FLIP: True}}
claims: [{id: "flip", paper: "P", table: "1", says: "s.", pair: ["flip", "base"]}]
"""


@pytest.mark.slow
def test_a_training_and_a_test_of_its_weights(tmp_path):
    file, folder = tmp_path / "table.yaml", str(tmp_path / "study")
    file.write_text(TABLE)
    ensure_split(SplitSettings(images=6, seed=1), str(tmp_path / "data"))
    spec = f"coco:{tmp_path}/data/{ANNOTATION_FILE}:{tmp_path}/data/{IMAGE_FOLDER}"
    table = read_table("cpu", {"mine": spec}, file=file)
    runs = table.runs(1)
    assert run_all(folder, table, runs) == []
    base, flip = read_rows(folder, table, runs).values()
    assert (base["variant"], flip["variant"], base["seed"]) == ("base", "flip", 0)
    assert {"AP", "AP50", "FD", "FD5"} <= base["scores"]["bbox"].keys() & flip["scores"]["bbox"]
    minutes = [minute for minute, _ in base["minutes_AP"]["bbox/AP"]]
    assert len(minutes) == 5  # after each fifth of the steps
    assert minutes[-1] == base["minutes"] == pytest.approx(5 * minutes[0], rel=0.03)
    assert 0 < flip["scores"]["speed"]["ms"] < 10000
    saved = (tmp_path / "study/flip-0/inference/config.yaml").read_text()
    assert "FLIP: true" in saved
    assert "base-0/model_final.pth" in saved

    def none(*_, **__):
        raise AssertionError("there is nothing left to run")

    assert run_all(folder, table, runs, run_child=none) == []


def test_a_run_prints_to_its_file(tmp_path):
    with (tmp_path / "log").open("w") as file:
        assert run_child(["sh", "-c", "echo out; echo err >&2; exit 3"], output=file) == 3
    assert sorted((tmp_path / "log").read_text().split()) == ["err", "out"]


def test_the_command_lists_and_refuses(tmp_path, capsys):
    given = ["reproduce", "ablations", "--output", str(tmp_path / "study"), "--list"]
    assert cli.main([*given, "--claims", "corner-pooling", "corner-flip", "--seeds", "4"]) == 0
    shown = capsys.readouterr().out
    assert "corner-pooling" in shown
    assert (
        "2 claims, 4 seeds: 8 trainings and 8 tests of their weights, of which 0 are done." in shown
    )
    assert not (tmp_path / "study").exists()
    assert cli.main([*given, "--claims", "corner-poolin"]) == 1
    assert "none is 'corner-poolin' (nearest: corner-pooling, " in capsys.readouterr().err
    assert cli.main([*given, "--claims", "l1-cells"]) == 1
    assert "Claim l1-cells needs data: --bccd FOLDER." in capsys.readouterr().err
    (tmp_path / "study").mkdir()
    (tmp_path / "study/study.json").write_text(json.dumps({"version": 0, "scale": "cpu"}))
    assert cli.main([*given[:-1], "--report-only"]) == 1
    assert "holds another study (version 0, scale cpu): this one" in capsys.readouterr().err
