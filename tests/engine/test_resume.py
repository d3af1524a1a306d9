"""A run that stops and goes on ends with the same weights, bit for bit."""

from __future__ import annotations

import re

import pytest
import torch

from centernet_d2.engine.trainer import Trainer


def train(cfg, *, stop_after: int | None = None, resume: bool = False) -> dict:
    """Train; `stop_after` breaks off as a killed job would. Returns the last checkpoint."""
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    if stop_after is not None:
        trainer.max_iter = stop_after
    trainer.train()
    return torch.load(trainer.checkpointer.get_checkpoint_file(), weights_only=True)


def differing(first: dict, second: dict, path: str = "") -> list[str]:
    """Names of all leaves that are not bitwise equal."""
    if isinstance(first, dict):
        assert isinstance(second, dict)
        assert first.keys() == second.keys()
        return [n for k in first for n in differing(first[k], second[k], f"{path}/{k}")]
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [path]
    return [] if first == second else [path]


CASES = {
    "fp32": [],
    "average": ["SOLVER.EMA_DECAY", 0.9],
    "bfloat16": ["SOLVER.AMP.ENABLED", True, "SOLVER.AMP_DTYPE", "bfloat16"],
    "float16": ["SOLVER.AMP.ENABLED", True, "SOLVER.AMP_DTYPE", "float16"],
    "workers": ["DATALOADER.NUM_WORKERS", 2, "SOLVER.EMA_DECAY", 0.9],
    "parts": ["SOLVER.IMS_AT_ONCE", 2, "SOLVER.EMA_DECAY", 0.9],
    "drawn seed": ["SEED", -1, "SOLVER.OPTIMIZER", "SGD"],
}


@pytest.mark.parametrize("case", CASES)
def test_resumed_run_equals_an_uninterrupted_one(config, tmp_path, case):
    overrides = ["DATASETS.TEST", (), *CASES[case]]
    broken = config(*overrides, "OUTPUT_DIR", str(tmp_path / "broken"))
    half = train(broken, stop_after=3)
    assert half["iteration"] == 2
    resumed = train(broken, resume=True)
    assert resumed["iteration"] == 5

    seed = half["trainer"]["seed"]  # where it was drawn, it is kept and repeats the whole run
    whole = train(config(*overrides, "SEED", seed, "OUTPUT_DIR", str(tmp_path / "whole")))

    for saved in (info := resumed["centernet_d2"]), whole["centernet_d2"]:
        del saved["training"]["date"]
        saved["config"] = re.sub(r"(?m)^SEED: .*$", "", saved["config"])  # drawn, or given by hand
    assert info["training"]["iterations"] == 6
    assert differing(resumed, whole) == []
    moved = differing(half["model"], whole["model"])
    assert len(moved) > len(whole["model"]) / 2  # the comparison is of weights that train
