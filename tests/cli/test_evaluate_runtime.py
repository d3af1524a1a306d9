"""`evaluate --runtime`: the scores of a detector that something else runs, and its name by them."""

from __future__ import annotations

import json

import pytest

from centernet_d2.inference import fastest

from .test_evaluate_timing import untrained


def test_scores_of_another_runtime_and_its_name(verb, tiny_overrides, tmp_path, monkeypatch):
    monkeypatch.setenv("CENTERNET_D2_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fastest, "PAUSE", 0)
    opts = [*tiny_overrides, "TEST.IMS_PER_BATCH", "2", "OUTPUT_DIR", str(tmp_path / "out")]
    given, folder = untrained("points_tiny", opts, tmp_path), tmp_path / "out" / "inference"
    told = {}
    for name, option, dtype in (
        ("", [], "float32"),
        ("folded", ["--runtime", "folded"], "auto"),
        ("float32 (auto)", [], "auto"),  # an untrained one finds nothing that is sure
    ):
        assert verb("evaluate").main([*given, *option, *opts, "TEST.DTYPE", dtype]) == 0
        scores = json.loads((folder / "coco_scores.json").read_text())
        assert scores.pop("protocol").endswith(name)
        told[name] = scores
    assert told["folded"] == told[""] == told["float32 (auto)"]
    with pytest.raises(ValueError, match="without a model: leave --runtime out"):
        verb("evaluate").main(["--results", str(tmp_path / "a.json"), "--runtime", "auto"])
    with pytest.raises(ValueError, match="of one process: leave --num-gpus out"):
        verb("evaluate").main([*given, "--runtime", "auto", "--num-gpus", "2", *opts])
    with pytest.raises(ValueError, match="--dataset is of --results: set "):
        verb("evaluate").main([*given, "--dataset", "coco:a.json:a", *opts])
    with pytest.raises(ValueError, match=r"runtime must be one of .*'openvino'"):
        verb("evaluate").main([*given, "--runtime", "tensorflow", *opts])
