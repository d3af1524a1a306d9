"""Modules that keep their input alone for the backward pass, and compute the rest again there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recomputed(module: nn.Module, forward: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
    """`forward(maps)` of a module without random numbers; its norms see a batch only once."""
    if torch.compiler.is_compiling():  # the graph has the change of the statistics once
        found: Tensor = checkpoint(forward, maps, use_reentrant=False)
        return found
    passes = 0

    def run(maps: Tensor) -> Tensor:
        nonlocal passes
        passes += 1
        with nullcontext() if passes == 1 else kept_statistics(module):
            return forward(maps)

    found = checkpoint(run, maps, use_reentrant=False, preserve_rng_state=False)
    return found


@contextmanager
def kept_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms inside use the batch's statistics and learn nothing of them."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, (_, count) in zip(norms, before, strict=True):
        norm.momentum, norm.num_batches_tracked = 0.0, None if count is None else count.clone()
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
