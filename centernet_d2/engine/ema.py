"""Exponential moving average of a model's weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ..checkpoint.unwrap import plain_name


class WeightAverage:
    """Moving average of every tensor of a model's state: parameters and norm statistics.

    average <- d * average + (1 - d) * weights, with d = min(decay, (1 + n) / (10 + n)) at update n,
    so that the random start is forgotten soon. Integer tensors (batch counters) are copied.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        """Start from the weights of a model that is not wrapped; `decay` is in (0, 1)."""
        if not 0.0 < decay < 1.0:
            raise ValueError(f"SOLVER.EMA_DECAY is {decay}; it must lie between 0 and 1 (0: off).")
        self.decay = decay
        self.updates = 0
        self._average = {name: value.clone() for name, value in model.state_dict().items()}
        self._model: nn.Module | None = None  # whose tensors the pairs below are
        self._floats: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])  # average, weights
        self._integers: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        if model is not self._model:
            self._pair_with(model)
        torch._foreach_lerp_(*self._floats, 1.0 - decay)  # one kernel instead of one per tensor
        if self._integers[0]:
            torch._foreach_copy_(*self._integers)
        self.updates += 1

    def _pair_with(self, model: nn.Module) -> None:
        # keep_vars gives the parameters themselves, which stay the same objects.
        self._model, self._floats, self._integers = model, ([], []), ([], [])
        for name, value in model.state_dict(keep_vars=True).items():
            average = self._average[name]
            pairs = self._floats if average.is_floating_point() else self._integers
            pairs[0].append(average)
            pairs[1].append(value)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the averaged tensors, by the model's names."""
        return self._average

    @torch.no_grad()
    def load(self, state: dict[str, torch.Tensor], *, updates: int) -> None:
        """Copy `state` (the model's names) into the average, and set the number of updates."""
        for name, value in state.items():
            self._average[name].copy_(value)
        self.updates = updates

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Let `model` hold the average inside the block, and its own weights after it."""
        own = {name: value.clone() for name, value in model.state_dict().items()}
        copy_into(model, self._average)
        try:
            yield
        finally:
            copy_into(model, own)


@torch.no_grad()
def copy_into(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Copy `state` into the model's tensors of those names, compiled or not; they stay the same."""
    plain = {plain_name(name): value for name, value in state.items()}
    for name, value in model.state_dict().items():
        value.copy_(plain[plain_name(name)])
