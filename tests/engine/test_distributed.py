"""Two processes on the CPU over gloo: the step is the documented mean, the evaluation is one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from detectron2.utils import comm

from centernet_d2.detectron2_versions import launch
from centernet_d2.engine.evaluate import evaluate_only
from centernet_d2.engine.trainer import Trainer

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _one_thread_each(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train_job(cfg) -> None:
    assert comm.get_world_size() == 2
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    everywhere = comm.all_gather(weights)
    assert torch.equal(everywhere[0], everywhere[1])


def evaluation_job(cfg, file: str) -> None:
    assert comm.get_world_size() == 2
    results = evaluate_only(cfg)
    if comm.is_main_process():
        Path(file).write_text(json.dumps(results["bbox"]))


def test_one_step_is_the_mean_of_the_processes_gradients(config, tmp_path):
    """Two steps run, since an unused parameter would stop the second one."""
    cfg = config(
        *("DATASETS.TEST", (), "SOLVER.MAX_ITER", 2, "SOLVER.STEPS", ()),
        # Statistics of two pixels would blow up the last digits, which differ with the threads.
        *("MODEL.ENCODER_DECODER.NORM", "", "SOLVER.BASE_LR", 0.1),
        *("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", 0.0, "SOLVER.CHECKPOINT_PERIOD", 1),
    )
    launch(train_job, 2, dist_url="auto", args=(cfg,))
    after = torch.load(tmp_path / "run" / "model_0000000.pth", weights_only=True)["model"]

    alone = Trainer(cfg)  # equal start weights by the seed
    batch = next(iter(alone.data_loader))
    gradients = []
    for share in (batch[0::2], batch[1::2]):
        alone.model.zero_grad()
        sum(alone.model(share).values()).backward()
        gradients.append([p.grad.clone() for p in alone.model.parameters()])
    rate = alone.optimizer.param_groups[0]["lr"]
    moved = 0.0
    for (name, before), first, second in zip(
        alone.model.named_parameters(), *gradients, strict=True
    ):
        expected = before.detach() - rate * (first + second) / 2
        torch.testing.assert_close(after[name], expected, rtol=1e-4, atol=1e-6)
        moved += float((first - second).abs().sum())
    assert moved > 0.1  # the two gradients differ: their mean is not either of them


def test_sharded_evaluation_equals_one_process(config, tmp_path):
    cfg = config("SOLVER.MAX_ITER", 60, "SOLVER.STEPS", (), "SOLVER.CHECKPOINT_PERIOD", 100)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    cfg.MODEL.WEIGHTS = trainer.checkpointer.get_checkpoint_file()
    alone = evaluate_only(cfg)["bbox"]
    assert alone["AR100"] > 0
    file = tmp_path / "sharded.json"
    launch(evaluation_job, 2, dist_url="auto", args=(cfg, str(file)))
    assert json.loads(file.read_text()) == pytest.approx(alone, abs=1e-9, nan_ok=True)


def test_more_processes_than_gpus_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="--num-gpus 2, but this machine has 1"):
        launch(os.getpid, 2)
