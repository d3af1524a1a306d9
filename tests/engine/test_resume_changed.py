"""Resuming under another config: the config's settings are used, and each change is told."""

from __future__ import annotations

import pytest
import torch

from centernet_d2.engine.optimizer import (
    build_optimizer,
    optimizer_state,
    resume_optimizer,
)
from centernet_d2.engine.trainer import Trainer

from .small_world import write_dataset

NO_TEST = ("DATASETS.TEST", ())


def resumed(config, before, now, caplog) -> tuple[Trainer, list[str]]:
    """Train half a run with some overrides, and resume it with others; also return what is told."""
    trainer = Trainer(config(*NO_TEST, *before))
    trainer.max_iter = 3
    trainer.train()
    trainer = Trainer(config(*NO_TEST, *now))
    trainer.resume_or_load(resume=True)
    start = "Resuming with another config. "
    return trainer, [m.removeprefix(start) for m in caplog.messages if m.startswith(start)]


def test_the_rate_that_is_printed_is_trained_with(config, caplog):
    caplog.set_level("INFO")
    change = ["SOLVER.BASE_LR", 0.02, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.STEPS", (5,)]
    trainer, told = resumed(config, ["SOLVER.WEIGHT_DECAY", 0.0], change, caplog)
    assert told == [
        "SOLVER.IMS_PER_BATCH: 2 is used, the run had 4.",
        "SOLVER.STEPS: (5,) is used, the run had (4,).",
        "learning rate 0.02 (SOLVER.BASE_LR and the batch) is used, the run had 0.01.",
    ]
    rates, after_step = [], trainer.after_step
    trainer.after_step = lambda: (
        rates.append(trainer.optimizer.param_groups[0]["lr"]),
        after_step(),
    )
    trainer.train()
    assert rates == pytest.approx([0.02, 0.02, 0.002])  # of iterations 3, 4 and 5
    assert "Learning rate 0.02, times 0.1 after 5;" in caplog.text
    assert "starting at image 12 of the stream" in caplog.text


SGD = ["SOLVER.OPTIMIZER", "SGD"]
DECAY = "weight decay 0.5 and 0.0 (SOLVER.WEIGHT_DECAY, _NORM, _BIAS) is used, the run had 0.0."


@pytest.mark.parametrize(
    ("kind", "key", "value", "line", "group"),
    [
        ([], "SOLVER.WEIGHT_DECAY", 0.5, DECAY, {"weight_decay": {0.5, 0.0}}),
        (SGD, "SOLVER.MOMENTUM", 0.5, "SOLVER.MOMENTUM: 0.5 is used", {"momentum": {0.5}}),
        (SGD, "SOLVER.NESTEROV", True, "SOLVER.NESTEROV: True is used", {"nesterov": {True}}),
        ([], "SOLVER.WARMUP_ITERS", 2, "SOLVER.WARMUP_ITERS: 2 is used, the run had 0.", {}),
        ([], "SOLVER.MAX_ITER", 9, "SOLVER.MAX_ITER: 9 is used, the run had 6.", {}),
        ([], "SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.LR_SCHEDULER_NAME: Warm", {}),
        ([], "SEED", 7, None, {"weight_decay": {0.0}}),  # as it is: nothing is told
    ],
)
def test_other_settings_are_used_and_told(config, caplog, kind, key, value, line, group):
    trainer, told = resumed(config, kind, [*kind, key, value], caplog)
    assert [change[: len(line)] for change in told] == ([line] if line else [])
    for name, values in group.items():
        assert {each[name] for each in trainer.optimizer.param_groups} == values
    trainer.train()


def test_another_data_set_is_told(config, dataset, caplog, tmp_path):
    other = write_dataset(tmp_path / "other")  # as many images
    _, told = resumed(config, [], ["DATASETS.TRAIN", (other,)], caplog)
    assert told == [f"DATASETS.TRAIN: {other} is used, the run had {dataset}."]


def test_another_optimizer_is_an_error_with_both_choices(config, caplog):
    message = r"SOLVER\.OPTIMIZER is 'Adam'.*'SGD'.*Set SOLVER\.OPTIMIZER SGD; or.*MODEL\.WEIGHTS"
    with pytest.raises(ValueError, match=message):
        resumed(config, SGD, [], caplog)


# ----------------------------------------------------------------------------------- the optimizer
def network() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)
    )


def stepped(model: torch.nn.Module, **settings) -> torch.optim.Optimizer:
    optimizer = build_optimizer(model, lr=0.1, **settings)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5) * len(parameter)
    optimizer.step()
    return optimizer


MOMENTS = {"Adam": "exp_avg", "AdamW": "exp_avg", "SGD": "momentum_buffer"}


@pytest.mark.parametrize(("kind", "moment"), MOMENTS.items())
@pytest.mark.parametrize("clipping", [None, ("value", 1.0, 2.0)])
def test_moments_follow_their_parameters_into_other_groups(kind, moment, clipping):
    model, sgd = network(), {"momentum": 0.9, "nesterov": False}
    old = stepped(model, name=kind, weight_decay=0.0, sgd=sgd)
    state = optimizer_state(old, model)
    assert len(old.param_groups) == 1
    settings = {"weight_decay": 0.1, "weight_decay_norm": 0.0, "weight_decay_bias": 0.2}
    new = build_optimizer(model, lr=0.1, name=kind, sgd=sgd, clipping=clipping, **settings)
    own = [group["weight_decay"] for group in new.param_groups]
    assert sorted(own) == [0.0, 0.1, 0.2]
    assert len(resume_optimizer(new, None, model, state)) == 1
    assert [group["weight_decay"] for group in new.param_groups] == own
    for parameter in model.parameters():
        assert torch.equal(new.state[parameter][moment], old.state[parameter][moment])
    with pytest.raises(ValueError, match=r"other groups.*SOLVER\.WEIGHT_DECAY"):
        resume_optimizer(new, None, model, state | {"optimizer_parameters": ["other"]})


def test_betas_are_told_and_used():
    model = network()
    state = optimizer_state(stepped(model), model)
    new = torch.optim.Adam(model.parameters(), lr=0.1, betas=(0.5, 0.9), weight_decay=0.0)
    changes = resume_optimizer(new, None, model, state)
    assert changes == ["the optimizer's betas: (0.5, 0.9) is used, the run had (0.9, 0.999)."]
    assert new.param_groups[0]["betas"] == (0.5, 0.9)


def test_a_rate_that_its_own_scheduler_goes_on_with_is_told():
    model = network()
    old, new = stepped(model), build_optimizer(model, lr=0.3)
    for optimizer, rate in ((old, 0.1), (new, 0.3)):
        optimizer.param_groups[0]["initial_lr"] = rate
    changes = resume_optimizer(new, None, model, optimizer_state(old, model))
    assert changes == [
        "learning rate 0.3 (SOLVER.BASE_LR and the batch) is not used, the scheduler goes on "
        "with 0.1."
    ]
    assert new.param_groups[0]["initial_lr"] == 0.1
