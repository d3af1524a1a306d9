"""One step at a time, by hand: updates, mixed precision, a stop at losses without a value."""

from __future__ import annotations

import contextlib
import itertools

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from centernet_d2.engine.ema import WeightAverage
from centernet_d2.engine.optimizer import build_optimizer
from centernet_d2.engine.step_loop import StepLoop


class Line(nn.Module):
    """loss = mean (weight * x - 1)^2; `noise` adds what a dropout would draw."""

    def __init__(self, noise: float = 0.0):
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.layer.weight, 0.5)
        self.noise = noise
        self.seen_dtype = None

    def forward(self, batch):
        x = torch.tensor([[sample["x"]] for sample in batch])
        out = self.layer(x)
        self.seen_dtype = out.dtype
        error = (out.float() - 1.0).square().mean()
        return {"loss_line": error + self.noise * torch.rand(()), "loss_zero": error * 0.0}


def batches(*values):
    return [
        [{"x": x, "image_id": i, "file_name": f"{i}.jpg"} for i, x in enumerate(batch)]
        for batch in values
    ]


def steps(loop: StepLoop, count: int, start: int = 0) -> EventStorage:
    with EventStorage(start) as storage:
        for loop.iter in range(start, start + count):
            loop.run_step()
            storage.step()
    return storage


def make(data, *, model=None, rate=0.1, **options) -> StepLoop:
    model = model or Line()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    return StepLoop(model, itertools.cycle(data), optimizer, **options)


def test_step_by_hand():
    # w = 0.5, x = (1, 2): mean of (-0.5)^2 and 0^2 = 0.125; gradient = mean(2 (wx - 1) x) = -0.5.
    loop = make(batches([1.0, 2.0]))
    storage = steps(loop, 1)
    assert loop.model.layer.weight.item() == pytest.approx(0.55)
    assert loop.losses == {"loss_line": pytest.approx(0.125), "loss_zero": 0.0}
    latest = storage.latest()
    assert latest["total_loss"][0] == pytest.approx(0.125)
    assert "data_time" in latest


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 9])
def test_parts_of_a_batch_add_up_to_it(at_once, dtype):
    values = batches([1.0, 2.0, 0.5, 1.5, 3.0], [2.0, 0.25, 1.0, 1.0, 0.5])
    whole, parted = make(values, amp_dtype=dtype), make(values, amp_dtype=dtype, at_once=at_once)
    parted.average, seen = WeightAverage(parted.model, decay=0.5), []
    parted.model.register_forward_hook(lambda model, given, out: seen.append(len(given[0])))
    close = {"rel": 1e-6 if dtype is None else 1e-2}
    for start in range(2):
        for loop in (whole, parted):
            steps(loop, 1, start)
        assert parted.model.layer.weight.item() == pytest.approx(
            whole.model.layer.weight.item(), **close
        )
        assert parted.losses == {
            name: pytest.approx(v, **close) for name, v in whole.losses.items()
        }
    assert sum(seen) == 10
    assert max(seen) - min(seen) <= 1
    assert max(seen) <= at_once
    assert parted.average.updates == 2  # a step is one update, however many its parts


def test_processes_exchange_gradients_at_the_last_part_alone():
    class Wrapped(Line):
        @contextlib.contextmanager
        def no_sync(self):
            alone.append(True)
            yield
            alone[-1] = False

        def forward(self, batch):
            exchanged.append(not (alone and alone[-1]))
            return super().forward(batch)

    alone, exchanged = [], []
    steps(make(batches([1.0, 2.0, 3.0]), model=Wrapped(), at_once=1), 2)
    assert exchanged == [False, False, True] * 2
    with pytest.raises(
        FloatingPointError, match=r"image 0 .*image 1 "
    ):  # and names the whole batch
        steps(make(batches([1.0, float("nan")]), at_once=1), 1)


def test_not_finite_names_this_batch_and_the_one_before():
    loop = make(batches([1.0], [float("nan"), 2.0]))
    with pytest.raises(FloatingPointError) as caught:
        steps(loop, 2)
    message = str(caught.value)
    assert "iteration 1" in message
    assert "image 0 (0.jpg), image 1 (1.jpg)" in message
    assert "The batch before" in message
    assert "SOLVER.BASE_LR" in message
    assert torch.isfinite(loop.model.layer.weight).all()  # stopped before the update


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_on_the_cpu(dtype):
    loop = make(batches([1.0, 2.0]), amp_dtype=dtype)
    storage = steps(loop, 20)
    assert loop.model.seen_dtype is dtype
    assert loop.model.layer.weight.dtype is torch.float32
    assert loop.model.layer.weight.item() == pytest.approx(0.6, abs=5e-3)  # the least squares w
    assert loop.grad_scaler.is_enabled() is (dtype is torch.float16)
    assert ("grad_scale" in storage.latest()) is (dtype is torch.float16)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["value", "norm", "full_model"])
def test_what_is_clipped_is_the_gradient_itself(kind, dtype):
    """Not that of a scaled loss: the gradient of the step by hand is -0.5."""
    model = Line()
    optimizer = build_optimizer(model, name="SGD", lr=1.0, clipping=(kind, 0.125, 2.0))
    loop = StepLoop(model, itertools.cycle(batches([1.0, 2.0])), optimizer, amp_dtype=dtype)
    steps(loop, 1)
    assert model.layer.weight.item() == pytest.approx(0.625)


def test_each_step_draws_by_seed_and_iteration():
    def drawn(*, seed, start, count):
        loop = make(batches([2.0]), model=Line(noise=1.0), rate=1e-9, seed=seed)
        losses = []
        with EventStorage(start):
            for loop.iter in range(start, start + count):
                loop.run_step()
                losses.append(loop.losses["loss_line"])
        return losses

    whole = drawn(seed=1, start=0, count=6)
    assert len(set(whole)) == 6
    assert drawn(seed=1, start=3, count=3) == whole[3:]
    assert drawn(seed=2, start=0, count=6) != whole


def test_average_follows_the_weights():
    model = Line()
    average = WeightAverage(model, decay=0.5)
    loop = make(batches([1.0, 2.0]), model=model, average=average)
    steps(loop, 1)
    # The first update uses decay (1 + 0) / (10 + 0): 0.1 * 0.5 + 0.9 * 0.55.
    assert float(average.state_dict()["layer.weight"]) == pytest.approx(0.545)
    with average.applied_to(model):
        assert model.layer.weight.item() == pytest.approx(0.545)
    assert model.layer.weight.item() == pytest.approx(0.55)


def test_average_is_one_call_for_all_tensors_and_equals_single_ones(monkeypatch):
    torch.manual_seed(0)
    model, other = (
        nn.Sequential(*(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)) for _ in range(4)))
        for _ in range(2)
    )
    average = WeightAverage(model, decay=0.9)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    calls = []
    together = torch._foreach_lerp_
    monkeypatch.setattr(torch, "_foreach_lerp_", lambda *a: calls.append(len(a[0])) or together(*a))
    for update in range(3):
        model(torch.randn(5, 3))  # moves statistics and counters
        model.load_state_dict(
            {k: v + 1 if v.is_floating_point() else v for k, v in model.state_dict().items()}
        )
        average.update(model)
        weight = 1 - (1 + update) / (10 + update)
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                expected[name].lerp_(value, weight)
            else:
                expected[name].copy_(value)
    assert calls == [24] * 3  # 4 times weight, bias, and four of the normalisation
    for name, value in average.state_dict().items():
        assert torch.equal(value, expected[name]), name

    before = average.state_dict()["0.0.weight"].clone()
    average.update(other)  # another model's tensors, not those of the first
    expected = before.lerp(other[0][0].weight.detach(), 1 - 4 / 13)
    assert torch.equal(average.state_dict()["0.0.weight"], expected)


def test_average_handles_statistics_and_counters():
    model = nn.BatchNorm1d(2)
    average = WeightAverage(model, decay=0.9)
    model(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    average.update(model)
    state = average.state_dict()
    assert int(state["num_batches_tracked"]) == 1
    expected = 0.9 * model.running_mean  # from 0, decay 0.1 at the first update
    torch.testing.assert_close(state["running_mean"], expected)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5])
def test_impossible_decay(decay):
    with pytest.raises(ValueError, match=r"SOLVER\.EMA_DECAY"):
        WeightAverage(Line(), decay=decay)


def test_model_left_in_evaluation_mode_is_an_error():
    loop = make(batches([1.0]))
    loop.model.eval()
    with pytest.raises(RuntimeError, match="evaluation mode"):
        steps(loop, 1)
