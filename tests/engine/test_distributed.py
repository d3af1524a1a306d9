"""Two processes on the CPU over gloo: the step is the documented mean, the evaluation is one."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from detectron2.utils import comm

from centernet_d2.detectron2_versions import launch
from centernet_d2.engine.evaluate import evaluate_only
from centernet_d2.engine.step_loop import unwrapped
from centernet_d2.engine.trainer import Trainer
from centernet_d2.engine.validation import validation_losses

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


@pytest.mark.parametrize("at_once", [0, 1])
def test_one_step_is_the_mean_of_the_processes_gradients(config, tmp_path, at_once):
    """Two steps run, since an unused parameter would stop the second one."""
    cfg = config(
        *("DATASETS.TEST", (), "SOLVER.MAX_ITER", 2, "SOLVER.STEPS", ()),
        *("SOLVER.IMS_AT_ONCE", at_once),
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
        for part in [share[:1], share[1:]] if at_once else [share]:
            (sum(alone.model(part).values()) * (len(part) / len(share))).backward()
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


def validation_job(cfg, file: str) -> None:
    trainer = Trainer(cfg)
    found = validation_losses(unwrapped(trainer.model), trainer.validation)
    assert bool(found) == comm.is_main_process()
    if found:
        Path(file).write_text(json.dumps(found))


def test_validation_loss_is_that_of_one_process(config, tmp_path):
    cfg = config("TEST.VALIDATION_LOSS", True)
    alone = Trainer(cfg)
    expected = validation_losses(alone.model, alone.validation)
    file = tmp_path / "loss.json"
    launch(validation_job, 2, dist_url="auto", args=(cfg, str(file)))
    assert json.loads(file.read_text()) == pytest.approx(expected, rel=1e-5)


def test_more_processes_than_gpus_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="--num-gpus 2, but this machine has 1"):
        launch(os.getpid, 2)


def broken_job(cfg, folder: str, act) -> None:
    """In one of the processes, that which saves nothing, `act` is called in a step."""
    trainer = Trainer(cfg)
    trainer._keeper.least = 100
    run_step = trainer._trainer.run_step

    def step() -> None:
        if comm.get_rank() == 1 and trainer.iter == 3:
            act()
        run_step()

    trainer._trainer.run_step = step
    try:
        trainer.train()
    except SystemExit as end:
        told = {"code": end.code, "iteration": trainer.iter}
        Path(folder, f"{comm.get_rank()}.json").write_text(json.dumps(told))


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def fail() -> None:
    raise RuntimeError("broken on purpose")


LONG = ("DATASETS.TEST", (), "SOLVER.MAX_ITER", 50, "SOLVER.CHECKPOINT_PERIOD", 100)


def test_a_signal_to_one_process_stops_all_after_the_same_step(config, tmp_path):
    launch(broken_job, 2, dist_url="auto", args=(config(*LONG), str(tmp_path), terminate))
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert told == [{"code": 143, "iteration": 3}] * 2
    saved = torch.load(tmp_path / "run" / "model_last.pth", weights_only=True)
    assert saved["iteration"] == 3
    assert saved["trainer"]["images_seen"] == 16


def test_a_process_that_fails_finds_the_steps_before_saved_by_the_main_one(config, tmp_path):
    with pytest.raises(Exception, match="on purpose"):
        launch(broken_job, 2, dist_url="auto", args=(config(*LONG), str(tmp_path), fail))
    saved = torch.load(tmp_path / "run" / "model_last.pth", weights_only=True)
    assert saved["iteration"] == 2


EARLY = (
    *("SOLVER.MAX_ITER", 60, "TEST.EVAL_PERIOD", 2, "SOLVER.CHECKPOINT_PERIOD", 100),
    *("SOLVER.BEST_METRIC", "bbox/AP", "SOLVER.EARLY_STOPPING", 1),
)


def early_job(cfg) -> None:
    trainer = Trainer(cfg)
    trainer.test = lambda cfg, model: {"bbox": {"AP": 1.0}} if comm.is_main_process() else {}
    trainer.train()
    assert comm.all_gather(trainer.iter) == [3, 3]


def test_early_stopping_ends_all_processes(config, tmp_path):
    launch(early_job, 2, dist_url="auto", args=(config(*EARLY),))
    saved = torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)
    assert saved["iteration"] == 3


@pytest.mark.parametrize("number", [-1, -3])
def test_negative_numbers_of_processes_are_an_error(number):
    with pytest.raises(ValueError, match=f"--num-gpus is {number}; it must be 0 or more"):
        launch(os.getpid, number)
    with pytest.raises(ValueError, match=f"--num-machines is {number}; it must be 1 or more"):
        launch(os.getpid, 1, num_machines=number)
