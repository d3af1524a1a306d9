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
from centernet_d2.benchmark.evaluation import summarize
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
    file = str(ROOT / "configs" / "Shapes" / f"{config}.yaml")
    opts = [*tiny_overrides, *(CORNER_OVERRIDES if cls is TripletCenterNet else ())]
    opts += ["TEST.FLIP", "True", "TEST.SCALES", "[0.5, 1.0]", "TEST.IMS_PER_BATCH", str(batch)]
    opts += ["DATALOADER.NUM_WORKERS", str(workers), "OUTPUT_DIR", str(tmp_path / "out")]
    torch.manual_seed(0)
    model = build_model(setup(load_config(file, opts)))
    DetectionCheckpointer(model, str(tmp_path)).save("weights", class_names=["square"])
    folder = tmp_path / "out" / "inference"
    given = ["--config-file", file, "--weights", str(tmp_path / "weights.pth")]
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


def test_each_stage_waits_for_the_device(monkeypatch):
    order: list = []
    monkeypatch.setattr(evaluation, "synchronize", order.append)
    row = {"network": 1.0}
    assert evaluation.timed("network", row, "cuda:1", lambda: order.append("ran") or 7) == 7
    assert order == ["cuda:1", "ran", "cuda:1"]
    assert 1.0 < row["network"] < 1.5


def test_results_are_not_timed(verb, squares, tmp_path):
    with pytest.raises(ValueError, match="--timing is of a model that runs"):
        verb("evaluate").main(["--results", str(Path(tmp_path, "a.json")), "--timing"])
