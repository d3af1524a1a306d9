"""The scans of `directional_pool` as Triton kernels, for CUDA. Importing this needs Triton.

Each program scans a block of lines (columns or rows of single maps), whose cells at one position
lie side by side in memory wherever the layout allows it.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 128  # lines of one program


@triton.jit
def _line_starts(lines, size_1, size_2, stride_0, stride_1, stride_2):
    """Offsets of the lines' first cells; lines are counted over three axes, the last fastest."""
    inner = lines % size_2
    middle = (lines // size_2) % size_1
    outer = lines // (size_2 * size_1)
    return (
        outer.to(tl.int64) * stride_0
        + middle.to(tl.int64) * stride_1
        + inner.to(tl.int64) * stride_2
    )


@triton.jit
def _scan_kernel(
    features,
    output,
    num_lines,
    length,
    size_1,
    size_2,
    from_0,
    from_1,
    from_2,
    from_step,
    to_0,
    to_1,
    to_2,
    to_step,
    from_end: tl.constexpr,
    block: tl.constexpr,
):
    lines = tl.program_id(0) * block + tl.arange(0, block)
    inside = lines < num_lines
    source = features + _line_starts(lines, size_1, size_2, from_0, from_1, from_2)
    target = output + _line_starts(lines, size_1, size_2, to_0, to_1, to_2)
    best = tl.full((block,), float("-inf"), tl.float32)
    if features.dtype.element_ty == tl.float64:
        best = best.to(tl.float64)
    for number in range(length):
        place = length - 1 - number if from_end else number
        value = tl.load(source + place.to(tl.int64) * from_step, mask=inside, other=0.0).to(
            best.dtype
        )
        # Strictly larger, so that the first of equal values stays; NaN is taken and stays too.
        best = tl.where((value > best) | (value != value), value, best)
        tl.store(
            target + place.to(tl.int64) * to_step, best.to(output.dtype.element_ty), mask=inside
        )


@triton.jit
def _collect_kernel(
    gradient,
    pooled,
    result,
    num_lines,
    length,
    size_1,
    size_2,
    gradient_0,
    gradient_1,
    gradient_2,
    gradient_step,
    pooled_0,
    pooled_1,
    pooled_2,
    pooled_step,
    result_0,
    result_1,
    result_2,
    result_step,
    from_end: tl.constexpr,
    block: tl.constexpr,
):
    lines = tl.program_id(0) * block + tl.arange(0, block)
    inside = lines < num_lines
    given = gradient + _line_starts(lines, size_1, size_2, gradient_0, gradient_1, gradient_2)
    known = pooled + _line_starts(lines, size_1, size_2, pooled_0, pooled_1, pooled_2)
    target = result + _line_starts(lines, size_1, size_2, result_0, result_1, result_2)
    total = tl.zeros((block,), tl.float32)
    if gradient.dtype.element_ty == tl.float64:
        total = total.to(tl.float64)
    # Against the scan: gradients are collected until the record that they belong to.
    for number in range(length):
        place = number if from_end else length - 1 - number
        earlier = tl.minimum(place + 1, length - 1) if from_end else tl.maximum(place - 1, 0)
        total += tl.load(given + place.to(tl.int64) * gradient_step, mask=inside, other=0.0).to(
            total.dtype
        )
        here = tl.load(known + place.to(tl.int64) * pooled_step, mask=inside, other=0.0)
        before = tl.load(known + earlier.to(tl.int64) * pooled_step, mask=inside, other=0.0)
        record = (here != before) | (number == length - 1)
        value = tl.where(record, total, 0.0)
        tl.store(
            target + place.to(tl.int64) * result_step,
            value.to(result.dtype.element_ty),
            mask=inside,
        )
        total = tl.where(record, 0.0, total)


def launch_once() -> None:
    """Launch a kernel on one cell, which raises where Triton cannot run."""
    cell = torch.zeros((1, 1, 1, 1), device="cuda")
    pool(cell, torch.empty_like(cell), 2, False)


def pool(features: Tensor, output: Tensor, axis: int, from_end: bool) -> None:
    """Write the running maximum of `features` (N, C, H, W) along `axis` into `output`."""
    if output.numel():
        lines, sizes, strides = _lines(axis, features, output)
        _scan_kernel[(triton.cdiv(lines, BLOCK),)](
            *(features, output, lines, features.shape[axis], *sizes[1:]),
            *(number for of_map in strides for number in of_map),
            from_end=from_end,
            block=BLOCK,
        )


def pool_backward(
    gradient: Tensor, pooled: Tensor, result: Tensor, axis: int, from_end: bool
) -> None:
    """Write the gradient of `pool`'s input into `result`, from that of its output `pooled`."""
    if result.numel():
        lines, sizes, strides = _lines(axis, gradient, pooled, result)
        _collect_kernel[(triton.cdiv(lines, BLOCK),)](
            *(gradient, pooled, result, lines, pooled.shape[axis], *sizes[1:]),
            *(number for of_map in strides for number in of_map),
            from_end=from_end,
            block=BLOCK,
        )


def _lines(axis: int, *maps: Tensor) -> tuple[int, list[int], list[list[int]]]:
    """Number of lines, sizes of the three other axes, and strides of these and of the scan.

    The axes are in the order of the last map's memory, the densest last.
    """
    others = sorted((a for a in range(4) if a != axis), key=maps[-1].stride, reverse=True)
    sizes = [maps[-1].shape[a] for a in others]
    strides = [[each.stride(a) for a in (*others, axis)] for each in maps]
    return torch.Size(sizes).numel(), sizes, strides
