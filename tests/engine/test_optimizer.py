"""Optimizers from a config: which, with what decay, how clipped, and when the rate falls."""

from __future__ import annotations

import copy

import pytest
import torch
from detectron2.solver import build_lr_scheduler
from torch import nn

from centernet_d2.engine.optimizer import build_optimizer, optimizer_state, resume_optimizer
from centernet_d2.engine.setup import load_config, setup


def make(*overrides):
    cfg = load_config(
        "", ["MODEL.HEATMAP.NUM_CLASSES", 2, "MODEL.DEVICE", "cpu", "DATASETS.TRAIN", ()]
    )
    cfg.merge_from_list(["SOLVER.WEIGHT_DECAY", 0.0, "SOLVER.WARMUP_ITERS", 0, *overrides])
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    return setup(cfg), model


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD"])
def test_named_optimizer_without_decay(name):
    cfg, model = make("SOLVER.OPTIMIZER", name, "SOLVER.BASE_LR", 0.125)
    optimizer = build_optimizer(cfg, model)
    assert type(optimizer).__name__ == name
    # As many groups under every detectron2 version, so that each resumes the other's checkpoints.
    assert [len(group["params"]) for group in optimizer.param_groups] == [4]
    for group in optimizer.param_groups:  # biases included, on detectron2 0.5 too
        assert group["weight_decay"] == 0.0
        assert group["lr"] == 0.125
    if name == "Adam":
        assert optimizer.defaults["betas"] == (0.9, 0.999)
        assert optimizer.defaults["eps"] == 1e-8


def test_decay_spares_the_norms():
    cfg, model = make("SOLVER.WEIGHT_DECAY", 0.5, "SOLVER.WEIGHT_DECAY_NORM", 0.0)
    optimizer = build_optimizer(cfg, model)
    decay = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    assert decay[id(model[0].weight)] == decay[id(model[0].bias)] == 0.5
    assert decay[id(model[1].weight)] == 0.0
    assert len(optimizer.param_groups) == 2


def test_unknown_optimizer():
    cfg, model = make()
    cfg.SOLVER.OPTIMIZER = "Lion"
    with pytest.raises(ValueError, match=r"SOLVER\.OPTIMIZER 'Lion'.*Adam"):
        build_optimizer(cfg, model)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # Gradients (3, 4) and (12,): norms 5 and 12, together 13. Clipped to 1 by SGD at rate 1.
        ("full_model", ([-3 / 13, -4 / 13], [-12 / 13])),
        ("norm", ([-3 / 5, -4 / 5], [-1.0])),
        ("value", ([-1.0, -1.0], [-1.0])),
    ],
)
def test_clipping(kind, expected):
    cfg, _ = make(
        *("SOLVER.OPTIMIZER", "SGD", "SOLVER.BASE_LR", 1.0, "SOLVER.MOMENTUM", 0.0),
        *("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 1.0),
        *("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", kind),
    )
    model = nn.ParameterList([torch.zeros(2), torch.zeros(1)])
    optimizer = build_optimizer(cfg, model)
    model[0].grad, model[1].grad = torch.tensor([3.0, 4.0]), torch.tensor([12.0])
    optimizer.step()
    for parameter, values in zip(model, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), torch.tensor(values), rtol=1e-5, atol=0)


def rates(cfg, model, steps):
    optimizer = build_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    result = []
    for _ in range(steps):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return result


def test_rate_falls_after_each_step_and_warms_up_on_demand():
    schedule = ["SOLVER.MAX_ITER", 10, "SOLVER.STEPS", (4, 8), "SOLVER.BASE_LR", 1.0]
    assert rates(*make(*schedule), 10) == pytest.approx([1.0] * 4 + [0.1] * 4 + [0.01] * 2)
    assert rates(*make(*schedule, "SOLVER.STEPS", ()), 10) == pytest.approx([1.0] * 10)
    warm = ["SOLVER.WARMUP_ITERS", 2, "SOLVER.WARMUP_FACTOR", 0.5]
    assert rates(*make(*schedule, *warm), 4) == pytest.approx([0.5, 0.75, 1.0, 1.0])


def test_elsewhere_torch_chooses_how_a_step_is_made():
    defaults = build_optimizer(nn.Linear(2, 2, device="meta"), lr=0.1).defaults
    assert (defaults["fused"], defaults["foreach"]) == (None, None)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD"])
@pytest.mark.parametrize("resumed", ["fused", "plain", "other layout"])
def test_fused_steps_are_plain_ones(name, resumed):
    """Also after taking over the state of a plain one, whatever its layout in memory."""
    torch.manual_seed(0)
    model = nn.Conv2d(8, 6, 3).to(memory_format=torch.channels_last)
    twin = copy.deepcopy(model)
    settings = {"lr": 0.01, "weight_decay": 0.1, "sgd": {"momentum": 0.9, "nesterov": True}}
    ours = build_optimizer(model, name=name, **settings)
    assert ours.defaults["fused"]
    plain = build_optimizer(twin, name=name, **settings)
    plain.param_groups[0]["fused"] = False
    for step in range(8):
        for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
            other.grad = torch.randn_like(other)
            mine.grad = other.grad.contiguous()
        if step == 4 and resumed != "fused":
            state = copy.deepcopy(optimizer_state(plain, twin))
            for value in state["optimizer"]["state"].values():
                if resumed == "other layout":
                    value |= {k: v.contiguous() for k, v in value.items() if v is not None}
            assert resume_optimizer(ours, None, model, state) == []
        ours.step()
        plain.step()
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-6)
