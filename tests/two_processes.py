"""Tests in two processes of one group."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def one_of_two(rank: int, folder: str, *, patience: float = 60) -> Iterator[None]:
    """Join a group of two over gloo, and leave it when both are done.

    Args:
        rank: of this process.
        folder: an empty one, shared.
        patience: seconds to wait for the other process at the end.
    """
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    yield
    # Not by a barrier of the group: who comes out of it first closes what the other still reads,
    # which then aborts.
    Path(folder, f"done{rank}").touch()
    until = time.monotonic() + patience
    while not Path(folder, f"done{1 - rank}").exists() and time.monotonic() < until:
        time.sleep(0.01)
    torch.distributed.destroy_process_group()
