"""What the sections share that measure alternatives against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from centernet_d2.benchmark.timing import Call, Timing


def comparison_rows(
    subject: Mapping[str, object], timings: Mapping[str, Timing], reference: str, parts: int = 1
) -> list[dict[str, object]]:
    """A row per alternative: `subject`, milliseconds, and how many times as fast as `reference`.

    Milliseconds are those of one of the equal `parts` of what was timed.
    """
    return [
        {
            **subject,
            "alternative": name,
            **timing.against(timings[reference], reference),
            "ms": round(timing.ms / parts, 3),
            "lowest_ms": round(1e3 * timing.lowest / parts, 3),
            "spread": timing.spread,
        }
        for name, timing in timings.items()
    ]


def forward(function: Callable[..., Tensor], tensors: Sequence[Tensor]) -> Call:
    """A call of `function` on the tensors that records no gradients."""

    def call() -> Tensor:
        with torch.no_grad():
            return function(*tensors)

    return call


def forward_and_backward(function: Callable[..., Tensor], tensors: Sequence[Tensor]) -> Call:
    """A call of `function`, and of the gradients of all tensors that it uses."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    gradient = torch.randn_like(function(*leaves))
    return lambda: torch.autograd.grad(function(*leaves), leaves, gradient, allow_unused=True)


def replace_modules(root: nn.Module, make: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """Put what `make` gives for a module, unless None, in its place everywhere below `root`."""
    for parent in list(root.modules()):
        for name, child in parent.named_children():
            replacement = make(child)
            if replacement is not None:
                setattr(parent, name, replacement)
    return root
