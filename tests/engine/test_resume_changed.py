"""Resuming under another config: the config's settings are used, and each change is told."""

from __future__ import annotations

import pytest
import torch

from centernet_d2.engine.optimizer import (
    OPTIMIZERS,
    build_optimizer,
    optimizer_state,
    resume_optimizer,
)
from centernet_d2.engine.trainer import Trainer

NO_TEST = ("DATASETS.TEST", ())


def half(config, *overrides) -> None:
    trainer = Trainer(config(*NO_TEST, *overrides))
    trainer.max_iter = 3
    trainer.train()


def resumed(config, *overrides) -> Trainer:
    trainer = Trainer(config(*NO_TEST, *overrides))
    trainer.resume_or_load(resume=True)
    return trainer


def told(caplog) -> list[str]:
    start = "Resuming with another config. "
    return [m.removeprefix(start) for m in caplog.messages if m.startswith(start)]


def test_the_rate_that_is_printed_is_trained_with(config, caplog):
    caplog.set_level("INFO")
    half(config, "SOLVER.WEIGHT_DECAY", 0.0)
    change = ["SOLVER.BASE_LR", 0.02, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.STEPS", (5,)]
    trainer = resumed(config, *change)
    assert told(caplog) == [
        "SOLVER.IMS_PER_BATCH: 2 is used, the run had 4.",
        "SOLVER.STEPS: (5,) is used, the run had (4,).",
        "SOLVER.BASE_LR: 0.02 is used, the run had 0.01.",
    ]
    rates = []
    after_step = trainer.after_step
    trainer.after_step = lambda: (
        rates.append(trainer.optimizer.param_groups[0]["lr"]),
        after_step(),
    )
    trainer.train()
    assert rates == pytest.approx([0.02, 0.02, 0.002])  # of iterations 3, 4 and 5
    assert "Learning rate 0.02, lowered after 5;" in caplog.text
    assert "starting at image 12 of the stream" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "key", "value", "line"),
    [
        ((), "SOLVER.WEIGHT_DECAY", 0.5, "WEIGHT_DECAY (_NORM, _BIAS): 0.5 and 0.0 is used"),
        (("SOLVER.OPTIMIZER", "SGD"), "SOLVER.MOMENTUM", 0.5, "MOMENTUM: 0.5 is used"),
        (("SOLVER.OPTIMIZER", "SGD"), "SOLVER.NESTEROV", True, "NESTEROV: True is used"),
        ((), "SOLVER.WARMUP_ITERS", 2, "WARMUP_ITERS: 2 is used, the run had 0"),
        ((), "SOLVER.MAX_ITER", 9, "MAX_ITER: 9 is used, the run had 6"),
        ((), "SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "LR_SCHEDULER_NAME: WarmupCosineLR is"),
    ],
)
def test_other_settings_are_used_and_told(config, caplog, overrides, key, value, line):
    half(config, *overrides)
    trainer = resumed(config, *overrides, key, value)
    (change,) = told(caplog)
    assert line in change
    name = {"SOLVER.MOMENTUM": "momentum", "SOLVER.NESTEROV": "nesterov"}.get(key, "weight_decay")
    values = {group[name] for group in trainer.optimizer.param_groups if name in group}
    expected = {"SOLVER.WEIGHT_DECAY": {0.5, 0.0}}.get(key, {value})
    assert values == (expected if name != "weight_decay" or "DECAY" in key else {0.0})
    trainer.train()


def test_an_unchanged_resume_says_nothing(config, caplog):
    half(config)
    resumed(config)
    assert told(caplog) == []


def test_another_optimizer_is_an_error_with_both_choices(config, monkeypatch):
    half(config, "SOLVER.OPTIMIZER", "SGD")
    message = r"SOLVER\.OPTIMIZER is 'Adam'.*'SGD'.*Set SOLVER\.OPTIMIZER SGD; or.*MODEL\.WEIGHTS"
    with pytest.raises(ValueError, match=message):
        resumed(config)


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


def momenta(optimizer, model) -> dict[str, torch.Tensor]:
    key = "momentum_buffer" if isinstance(optimizer, torch.optim.SGD) else "exp_avg"
    return {name: optimizer.state[p][key].clone() for name, p in model.named_parameters()}


def older(state: dict) -> dict:
    """As it was in checkpoints that name neither optimizer nor parameters."""
    return {"optimizer": state["optimizer"]}


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("clipping", [None, ("value", 1.0, 2.0)])
def test_moments_follow_their_parameters_into_other_groups(kind, clipping):
    model = network()
    sgd = {"momentum": 0.9, "nesterov": False}
    old = stepped(model, name=kind, weight_decay=0.0, sgd=sgd)
    expected, state = momenta(old, model), optimizer_state(old, model)
    assert len(old.param_groups) == 1
    settings = {"weight_decay": 0.1, "weight_decay_norm": 0.0, "weight_decay_bias": 0.2}
    new = build_optimizer(model, lr=0.1, name=kind, sgd=sgd, clipping=clipping, **settings)
    own = [group["weight_decay"] for group in new.param_groups]
    assert sorted(own) == [0.0, 0.1, 0.2]
    assert len(resume_optimizer(new, None, model, state)) == 1
    assert [group["weight_decay"] for group in new.param_groups] == own
    for name, value in momenta(new, model).items():
        assert torch.equal(value, expected[name])
    with pytest.raises(ValueError, match=r"other groups.*SOLVER\.WEIGHT_DECAY"):
        resume_optimizer(new, None, model, older(state))


def test_older_checkpoints_tell_their_optimizer_by_its_settings():
    model = network()
    adam, sgd = (stepped(model, name=n, sgd={"momentum": 0.9}) for n in ("Adam", "SGD"))
    states = [older(optimizer_state(each, model)) for each in (adam, sgd)]
    assert resume_optimizer(adam, None, model, states[0]) == []
    for new, state, words in ((adam, states[1], "has 'SGD'"), (sgd, states[0], "has 'Adam'")):
        with pytest.raises(ValueError, match=f"the run to resume {words}"):
            resume_optimizer(new, None, model, state)


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
    assert changes == ["SOLVER.BASE_LR: the scheduler goes on with 0.1, not 0.3."]
    assert new.param_groups[0]["initial_lr"] == 0.1
