"""`evaluate --timing`: seconds of the right stages beside scores that are the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model

from centernet_d2 import setup
from centernet_d2.benchmark import evaluation
from centernet_d2.benchmark.evaluation import describe, summarize, table
from centernet_d2.data.images import read_image
from centernet_d2.data.mapper import DetectionMapper
from centernet_d2.engine.setup import load_config
from centernet_d2.modeling.meta_arch.points_centernet import PointsCenterNet
from centernet_d2.modeling.meta_arch.triplet_centernet import TripletCenterNet

from .conftest import CORNER_OVERRIDES, ROOT


class Clock:
    """A clock that stands still but in what is called `slowly`."""

    now = 0.0

    def slowly(self, seconds: float, function):
        def call(*given, **named):
            self.now += seconds
            return function(*given, **named)

        return call


def untrained(config: str, opts: list[str], folder: Path) -> list[str]:
    """Save a detector; return the arguments that name it."""
    torch.manual_seed(0)
    file = str(ROOT / "configs" / "Shapes" / f"{config}.yaml")
    model = build_model(setup(load_config(file, opts)))
    DetectionCheckpointer(model, str(folder)).save("weights", class_names=["square"])
    return ["--config-file", file, "--weights", str(folder / "weights.pth")]


@pytest.mark.parametrize(
    ("config", "cls", "method", "batch", "workers"),
    [
        ("points_tiny", PointsCenterNet, "finalize", 1, 0),
        ("triplet_tiny", TripletCenterNet, "join", 2, 1),
    ],
)
def test_stages_are_timed_and_scores_stay(
    *, config, cls, method, batch, workers, verb, tiny_overrides, tmp_path, monkeypatch
):
    opts = [*tiny_overrides, *(CORNER_OVERRIDES if cls is TripletCenterNet else ())]
    opts += ["TEST.FLIP", "True", "TEST.SCALES", "[0.5, 1.0]", "TEST.IMS_PER_BATCH", str(batch)]
    opts += ["DATALOADER.NUM_WORKERS", str(workers), "OUTPUT_DIR", str(tmp_path / "out")]
    given, folder = untrained(config, opts, tmp_path), tmp_path / "out" / "inference"
    assert verb("evaluate").main([*given, *opts]) == 0
    scores = json.loads((folder / "results.json").read_text())
    clock = Clock()
    monkeypatch.setattr(evaluation, "perf_counter", lambda: clock.now)
    slow = staticmethod(clock.slowly(1, read_image))
    monkeypatch.setattr(DetectionMapper, "read_image", slow)
    for seconds, name in ((4, "attach_inputs"), (6, "predict"), (8, method)):
        monkeypatch.setattr(cls, name, clock.slowly(seconds, getattr(cls, name)))
    assert verb("evaluate").main([*given, "--timing", *opts]) == 0
    assert json.loads((folder / "results.json").read_text()) == scores
    (told,) = json.loads((folder / "timing.json").read_text())["datasets"].values()
    assert told["scores"] == scores
    assert (told["pictures"], told["batch"]) == (4 - batch, batch)  # the first batch is warm-up
    assert (told["protocol"][:11], told["num_workers"]) == ("ms (0.5, 1)", workers)
    assert told["picture_size"] == "64x64"
    decode = 8 if method == "join" else 8 / batch  # of each picture, or of a batch
    expected = {"read": 1, "map": 0, "wait": 0 if workers else 1}
    expected |= {
        "preprocess": 2 * 4 / batch,
        "network": 2 * 6 / batch,
        "decode": decode,
    }  # 2 scales
    expected |= {"detector": 20 / batch + decode, "evaluator": 0}
    expected |= {"whole": expected["wait"] + expected["detector"]}
    for kind in ("median", "mean", "p90"):
        ms = {stage: values[kind] for stage, values in told["ms_per_picture"].items()}
        assert ms == pytest.approx({stage: 1e3 * value for stage, value in expected.items()})
    assert told["stages_over_whole"] == pytest.approx(1)
    assert told["pictures_per_second"] == pytest.approx(1 / expected["whole"])
    verb("evaluate").main([*given, *opts])
    assert not (folder / "timing.json").exists()  # it was of other scores


def test_milliseconds_are_of_a_picture_and_rates_of_all_processes():
    row = {"read": 0.2, "map": 0.5, "wait": 0.1, "preprocess": 0.1, "network": 0.4, "detector": 0.7}
    row |= {"evaluator": 0.1, "whole": 1.0, "pictures": 2}
    slow = row | {"network": 1.4, "detector": 1.7, "whole": 2.0, "pictures": 1}
    told = summarize([[row, slow], [row], []])
    mean = {stage: values["mean"] for stage, values in told["ms_per_picture"].items()}
    assert mean == pytest.approx(
        {"read": 120, "map": 180, "wait": 60, "preprocess": 60, "network": 440, "decode": 120}
        | {"detector": 620, "evaluator": 60, "whole": 800}
    )
    assert told["ms_per_picture"]["network"]["median"] == pytest.approx(200)
    assert told["ms_per_picture"]["network"]["p90"] == pytest.approx(200 + 0.8 * 1200)
    assert told["pictures_per_second"] == pytest.approx(2 * 1.25)  # of three, one had no picture
    assert (told["processes"], told["batch"], told["pictures"]) == (3, 2, 5)
    assert told["stages_over_whole"] == pytest.approx(740 / 800)
    others = {key: row[key] for key in ("wait", "detector", "evaluator", "whole", "pictures")}
    assert [*summarize([[others]])["ms_per_picture"]] == ["wait", "detector", "evaluator", "whole"]
    bare = {stage: seconds for stage, seconds in row.items() if stage not in ("read", "preprocess")}
    ms = summarize([[row, bare]])["ms_per_picture"]  # 1 s each, of two pictures
    assert (ms["read"]["mean"], ms["map"]["mean"]) == pytest.approx((50, 200))
    ms = summarize([[bare]])["ms_per_picture"]
    assert ms["decode"]["mean"] == pytest.approx(150)
    with pytest.raises(ValueError, match="no picture was evaluated"):
        summarize([[], []])


@pytest.mark.parametrize(
    ("batches", "left_out", "cold"),
    [([1], [0], 1), ([2, 1], [1, 0], 1), ([10, 0], [1, 0], 0), ([90, 11], [5, 2], 0)],
)
def test_the_warm_up_left_out_is_told(batches, left_out, cold):
    row = {"wait": 0.0, "detector": 1.0, "evaluator": 0.0, "whole": 1.0, "pictures": 1}
    slow = row | {"detector": 9.0}
    gathered = [[slow] * k + [row] * (n - k) for n, k in zip(batches, left_out, strict=True)]
    left_out = sum(left_out)
    told = describe(gathered, [(32, 64), (64, 64), (48, 64)], {"cpu": "a CPU", "threads": 2})
    assert (told["warm_up_batches"], told["pictures"]) == (left_out, sum(batches) - left_out)
    assert told["ms_per_picture"]["detector"]["mean"] == 1000
    assert (told["device"], told["picture_size"]) == ("a CPU, 2 thread(s)", "48x64")
    told |= {"protocol": "plain"}
    line = table("val", told).splitlines()[0]
    assert f"after a warm-up of {left_out} batch(es)" in line
    assert ("WARM-UP INCLUDED: 1 process(es) had a single batch" in line) == bool(cold)
    assert bool(told["warning"]) == bool(cold)


def test_scores_stay_where_times_fail(verb, tiny_overrides, tmp_path, monkeypatch, caplog):
    opts = [*tiny_overrides, "OUTPUT_DIR", str(tmp_path / "out")]
    given = untrained("points_tiny", opts, tmp_path)
    monkeypatch.setattr(evaluation, "describe", lambda *_: {}["gone"])
    assert verb("evaluate").main([*given, "--timing", *opts]) == 0
    assert "AP" in json.loads((tmp_path / "out" / "inference" / "results.json").read_text())["bbox"]
    assert not (tmp_path / "out" / "inference" / "timing.json").exists()
    assert "No times of" in caplog.text


def test_each_stage_waits_for_the_device(monkeypatch):
    order: list = []
    monkeypatch.setattr(evaluation, "synchronize", order.append)
    row = {"network": 1.0}
    assert evaluation.timed("network", row, "cuda:1", lambda: order.append("ran") or 7) == 7
    assert order == ["cuda:1", "ran", "cuda:1"]
    assert 1.0 < row["network"] < 1.5


def test_results_are_not_timed(verb, squares, tmp_path):
    with pytest.raises(ValueError, match="without a model: leave --timing out"):
        verb("evaluate").main(["--results", str(Path(tmp_path, "a.json")), "--timing"])
