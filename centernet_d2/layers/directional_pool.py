"""Running maxima towards one side of a map (CornerNet section 3.3), without compiled code.

Each output cell holds the largest value between it and one side of the map: "top" looks from a cell
downwards and so fills a column from below upwards, which brings what lies along an object's left
edge up to its top-left corner; "left" looks to the right; "bottom" and "right" look the other ways.

The gradient of an output goes to one input cell: of equal values to the one that the scan meets
first (published behaviour; `torch.cummax` gives it to the last). No index is kept for that: where
the output of a scan changes there is a record, and the gradients from one record to the next all
belong to the earlier one.

(N, C, H, W) in any memory format, which the output keeps.
"""

import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checked_values import check_choice
from .cuda_kernels import cuda_kernels
from .tracing import makes_a_graph

DIRECTIONS = {"top": (2, True), "bottom": (2, False), "left": (3, True), "right": (3, False)}
"""Direction -> axis of the scan, and whether it starts at the axis' end."""

LONGEST = 4096
"""Cells of a line that exported and traced graphs pool: 16,384 pixels at stride 4."""


def directional_pool(features: Tensor, direction: str) -> Tensor:
    """Running maximum of (N, C, H, W) towards a side; the same shape, dtype and memory format.

    Differentiable once. NaN goes along with the scan, as a maximum should; on a CPU an infinite
    gradient comes back as NaN in its line (to tell them apart would take twice the time).

    Args:
        features: any floating dtype, on any device.
        direction: "top", "bottom", "left" or "right".
    """
    check_choice("direction", direction, DIRECTIONS)
    if features.dim() != 4:
        raise ValueError(f"directional_pool takes (N, C, H, W), got {tuple(features.shape)}")
    axis, from_end = DIRECTIONS[direction]
    if makes_a_graph():
        return pool_by_doubling(features, axis, from_end)
    return _pool(features, axis, from_end)


def pool_by_doubling(features: Tensor, axis: int, from_end: bool) -> Tensor:
    """`directional_pool` with operators that every exporter knows: reach 1, 2, 4 ... cells further.

    The operators are the same for maps of every size, so that a graph which was recorded at one
    size is right at all others. Its gradient halves ties, so it is not for training.

    Args:
        features: (N, C, H, W) of at most `LONGEST` cells along the axis.
        axis: 2 or 3.
        from_end: see `DIRECTIONS`.
    """
    length = features.shape[axis]
    if not torch.jit.is_tracing() and length > LONGEST:  # in a trace it is no number
        raise ValueError(f"a graph pools lines of at most {LONGEST} cells, got {length}")
    reach = 1
    while reach < LONGEST:
        features = torch.maximum(features, _moved(features, axis, from_end, reach, length))
        reach *= 2
    return features


def _moved(features: Tensor, axis: int, from_end: bool, reach: int, length: int) -> Tensor:
    """Moved by `reach` cells, which may be further than the map goes; -inf comes in."""
    after, before = (reach, 0) if from_end else (0, reach)
    padding = [before, after] if axis == 3 else [0, 0, before, after]
    return F.pad(features, padding, value=-torch.inf).narrow(axis, after, length)


def pool_with(features: Tensor, companion: Tensor, direction: str) -> tuple[Tensor, Tensor]:
    """`directional_pool`, and what `companion`, of the same shape, holds where each maximum lies.

    Of equal values the nearest counts. By doubling, with operators that every exporter knows.
    """
    axis, from_end = DIRECTIONS[direction]
    reach, length = 1, features.shape[axis]
    while reach < (LONGEST if makes_a_graph() else length):
        nearer = (features, companion)
        further = [_moved(each, axis, from_end, reach, length) for each in nearer]
        higher = further[0] > features
        pairs = zip(further, nearer, strict=True)
        features, companion = (torch.where(higher, far, near) for far, near in pairs)
        reach *= 2
    return features, companion


class DirectionalPool(nn.Module):
    """`directional_pool` as a module."""

    def __init__(self, direction: str) -> None:
        super().__init__()
        self.direction = direction

    def forward(self, features: Tensor) -> Tensor:
        return directional_pool(features, self.direction)


# ------------------------------------------------------------------------------- as operators
# Operators of their own, so that a compiler takes the loops below as one call.
@torch.library.custom_op("centernet_d2::directional_pool", mutates_args=())
def _pool(features: Tensor, axis: int, from_end: bool) -> Tensor:
    output = torch.empty_like(features)
    if features.is_cuda and (kernels := _cuda_kernels()):
        kernels.pool(features, output, axis, from_end)
    elif output.numel():
        _in_rows(_scan, features, output, axis=axis, from_end=from_end)
    return output


@torch.library.custom_op("centernet_d2::directional_pool_backward", mutates_args=())
def _pool_backward(gradient: Tensor, output: Tensor, axis: int, from_end: bool) -> Tensor:
    result = torch.empty_like(output)
    if output.is_cuda and (kernels := _cuda_kernels()):
        kernels.pool_backward(gradient, output, result, axis, from_end)
    elif output.numel():
        _in_rows(_collect, gradient, output, result, axis=axis, from_end=from_end)
    return result


@_pool.register_fake
def _(features: Tensor, axis: int, from_end: bool) -> Tensor:
    return torch.empty_like(features)


@_pool_backward.register_fake
def _(gradient: Tensor, output: Tensor, axis: int, from_end: bool) -> Tensor:
    return torch.empty_like(output)


def _remember(ctx: Any, inputs: tuple[Tensor, int, bool], output: Tensor) -> None:
    _, ctx.axis, ctx.from_end = inputs
    ctx.save_for_backward(output)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    (output,) = ctx.saved_tensors
    return _pool_backward(gradient, output, ctx.axis, ctx.from_end), None, None


_pool.register_autograd(_backward, setup_context=_remember)


def _cuda_kernels() -> ModuleType | None:
    return cuda_kernels("directional_pool_triton", "directional pooling", "Plain torch")


# -------------------------------------------------------------------------------------- row by row
def _in_rows(function: Callable[..., None], *maps: Tensor, axis: int, from_end: bool) -> None:
    """Call a function that works row by row with the maps, the last of which it writes.

    One row (or column) of all maps is taken at once, which is fast unless its elements lie far
    apart, as those of columns do in the standard layout. Such maps are transposed before and after:
    that costs less.
    """
    output = maps[-1]
    if axis == 2 or output.stride(3) != 1:
        function(*maps, axis=axis, from_end=from_end)
        return
    turned = [
        torch.empty_like(each.transpose(2, 3), memory_format=torch.contiguous_format)
        for each in maps
    ]
    for copy, each in zip(turned[:-1], maps, strict=False):
        copy.copy_(each.transpose(2, 3))
    function(*turned, axis=2, from_end=from_end)
    output.copy_(turned[-1].transpose(2, 3))


def _scan(features: Tensor, output: Tensor, *, axis: int, from_end: bool) -> None:
    inputs, results = features.unbind(axis), output.unbind(axis)
    order = range(len(results) - 1, -1, -1) if from_end else range(len(results))
    results[order[0]].copy_(inputs[order[0]])
    for earlier, here in itertools.pairwise(order):
        torch.maximum(results[earlier], inputs[here], out=results[here])


def _collect(
    gradient: Tensor, pooled: Tensor, result: Tensor, *, axis: int, from_end: bool
) -> None:
    half = result.dtype in (torch.float16, torch.bfloat16)  # sums of up to a whole line
    total = gradient.float() if half else result.copy_(gradient)
    totals, records = total.unbind(axis), pooled.unbind(axis)
    same, handed = torch.empty_like(totals[0]), torch.empty_like(totals[0])
    for index in range(len(totals) - 1) if from_end else range(len(totals) - 2, -1, -1):
        later, earlier = (index, index + 1) if from_end else (index + 1, index)
        # Without a record here (1) the later of two neighbours hands its gradient on. Row by row,
        # so that nothing leaves the cache.
        torch.eq(records[later], records[earlier], out=same)
        torch.mul(totals[later], same, out=handed)
        totals[earlier].add_(handed)
        totals[later].sub_(handed)
    if half:
        result.copy_(total)
