"""Resuming under another config: the config's settings are used, and each change is told."""

from __future__ import annotations

import pytest
import torch

from centernet_d2.engine.optimizer import (
    OPTIMIZERS,
    build_optimizer,
    kind_of,
    parameter_names,
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
    assert "Rate: 0.02 in iteration 0, 0.002 in iteration 5." in caplog.text
    assert "starting at image 12 of the stream" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "key", "value", "line"),
    [
        ((), "SOLVER.WEIGHT_DECAY", 0.5, "WEIGHT_DECAY (_NORM, _BIAS): 0.5 and 0 is used"),
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
    key = "momentum_buffer" if kind_of(optimizer) == "SGD" else "exp_avg"
    return {name: optimizer.state[p][key].clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("clipping", [None, ("value", 1.0, 2.0)])
def test_moments_follow_their_parameters_into_other_groups(kind, clipping):
    model = network()
    sgd = {"momentum": 0.9, "nesterov": False}
    old = stepped(model, name=kind, weight_decay=0.0, sgd=sgd)
    expected = momenta(old, model)
    assert len(old.param_groups) == 1
    settings = {"weight_decay": 0.1, "weight_decay_norm": 0.0, "weight_decay_bias": 0.2}
    new = build_optimizer(model, lr=0.1, name=kind, sgd=sgd, clipping=clipping, **settings)
    own = [group["weight_decay"] for group in new.param_groups]
    assert sorted(own) == [0.0, 0.1, 0.2]
    names = parameter_names(new, model)
    given = {"saved_names": parameter_names(old, model), "saved_kind": kind_of(old)}
    assert given["saved_names"] != names
    changes = resume_optimizer(new, old.state_dict(), names=names, **given)
    assert len(changes) == 1
    assert [group["weight_decay"] for group in new.param_groups] == own
    for name, value in momenta(new, model).items():
        assert torch.equal(value, expected[name])
    with pytest.raises(ValueError, match=r"other groups.*SOLVER\.WEIGHT_DECAY"):
        resume_optimizer(new, old.state_dict(), names=names, saved_names=None, saved_kind=kind)


def test_older_checkpoints_tell_their_optimizer_by_its_settings():
    model = network()
    adam, sgd = (stepped(model, name=n, sgd={"momentum": 0.9}) for n in ("Adam", "SGD"))
    named = {"names": parameter_names(adam, model), "saved_names": None, "saved_kind": None}
    assert resume_optimizer(adam, adam.state_dict(), **named) == []
    for new, old, words in ((adam, sgd, "run to resume has 'SGD'"), (sgd, adam, "has 'Adam'")):
        with pytest.raises(ValueError, match=words):
            resume_optimizer(new, old.state_dict(), **named)


def test_betas_are_told_and_used():
    model = network()
    old = stepped(model)
    new = torch.optim.Adam(model.parameters(), lr=0.1, betas=(0.5, 0.9), weight_decay=0.0)
    named = {"names": parameter_names(new, model), "saved_names": None, "saved_kind": "Adam"}
    changes = resume_optimizer(new, old.state_dict(), **named)
    assert changes == ["the optimizer's betas: (0.5, 0.9) is used, the run had (0.9, 0.999)."]
    assert new.param_groups[0]["betas"] == (0.5, 0.9)


def test_a_rate_that_its_own_scheduler_goes_on_with_is_told():
    model = network()
    old, new = stepped(model), build_optimizer(model, lr=0.3)
    for optimizer, rate in ((old, 0.1), (new, 0.3)):
        optimizer.param_groups[0]["initial_lr"] = rate
    named = {"names": parameter_names(new, model), "saved_names": None, "saved_kind": "Adam"}
    changes = resume_optimizer(new, old.state_dict(), **named, keeps_rate=False)
    assert changes == ["SOLVER.BASE_LR: 0.1 is used, not 0.3."]
    assert new.param_groups[0]["initial_lr"] == 0.1
