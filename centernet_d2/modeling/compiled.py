"""Networks and losses by torch.compile, which makes C++ on a CPU and Triton's kernels on CUDA."""

import functools
import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def check_compiler(device: str, instead: str) -> None:
    """Raise ValueError, which says what to do `instead`, where torch.compile finds no compiler."""
    variable, usual = ("CXX", ["g++"]) if device == "cpu" else ("CC", ["clang", "gcc", "cc"])
    names = os.environ.get(variable, "").split()[:1] or usual  # the first word of "ccache g++"
    if not any(map(shutil.which, names)):
        raise ValueError(
            f"torch.compile needs a compiler, and there is no {' or '.join(names)} on the PATH: "
            f"install g++, name another in {variable}, or {instead}"
        )


@functools.cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors, compiled at its first call, and again for sizes of another kind."""
    # How many objects a mask chooses is known in no graph; without these a graph would end there.
    torch._dynamo.config.capture_dynamic_output_shape_ops = True
    torch._dynamo.config.capture_scalar_outputs = True
    return torch.compile(function)


def compiled_for_any_size(graph: nn.Module) -> Callable[..., Any]:
    """A graph of pictures (N, height, width, 3), compiled once for one picture, once for more."""
    made = torch.compile(graph)

    def run(pictures: Tensor, *more: Tensor) -> Any:
        # Not dynamic=True, by which numbers of the config vary too: a loop in a graph takes none.
        torch._dynamo.maybe_mark_dynamic(pictures, [1, 2])
        return made(pictures, *more)

    return run


def compile_training(model: nn.Module) -> None:
    """Let a detector's network and losses be compiled in training, or raise ValueError."""
    if not hasattr(model, "compiles"):
        raise ValueError(
            f"SOLVER.COMPILE is True, and MODEL.META_ARCHITECTURE {type(model).__name__} is none "
            "of this package's detectors, whose network and losses it compiles: set it to False"
        )
    check_compiler(next(model.parameters()).device.type, "set SOLVER.COMPILE to False")
    model.compiles = True
