"""One model in several processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch.distributed as dist
from detectron2.engine.defaults import create_ddp_model
from detectron2.utils import comm
from torch import nn


def distributed(model: nn.Module) -> nn.Module:
    """Wrap `model` where there are several processes: gradients become their mean.

    Each process divides its losses by its own objects, and the mean is over processes, as in the
    published code (mean of the GPUs' losses): the step is not exactly that of one process with all
    images.
    """
    on_gpu = next(model.parameters()).is_cuda
    device_ids = [comm.get_local_rank()] if on_gpu else None
    return create_ddp_model(model, broadcast_buffers=False, device_ids=device_ids)


@contextlib.contextmanager
def buffers_of_main_process(model: nn.Module) -> Iterator[None]:
    """Let all processes use the main process's buffers inside the block.

    Each process keeps its own statistics of its norms in training; the checkpoint holds those of
    the main process, and an evaluation split over processes shall score that checkpoint.
    """
    if comm.get_world_size() == 1:
        yield
        return
    own = [buffer.clone() for buffer in model.buffers()]
    for buffer in model.buffers():
        dist.broadcast(buffer, src=0)
    try:
        yield
    finally:
        for buffer, value in zip(model.buffers(), own, strict=True):
            buffer.copy_(value)
