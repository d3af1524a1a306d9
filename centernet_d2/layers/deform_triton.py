"""Modulated deformable convolution for CUDA: Triton samples into columns, cuBLAS multiplies.

The samples of a block of output cells are a matrix (cells, T * C), written once and read once by
the product, which so follows torch's rules of precision. With 64 channels a sample costs as many
multiply-adds as it has bytes, so the gather and the product both are far below what the memory
takes unless the columns stay in the cache of the device: blocks are cut to that. Importing this
needs Triton. Not deterministic backward: gradients of the map are added in any order.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK_BYTES = 24 << 20  # of columns at a time: half of the cache of an H100
CELLS, CHANNELS, WARPS = 32, 64, 4  # of one program, and its warps

Geometry = tuple[int, ...]
"""Height and width of the map and of the output, kernel width, stride, padding, dilation."""


@triton.jit
def _neighbours(position, size):
    """Two cells of an axis around positions, in the map; their weights, and these' slopes."""
    slope = ((position >= -1.0) & (position <= size)).to(position.dtype)
    position = tl.where(position < -1.0, -1.0, position)  # NaN stays
    position = tl.where(position > size, size, position)
    low = tl.floor(position)
    share = position - low
    has_low = ((low >= 0.0) & (low < size)).to(position.dtype)
    has_high = (low < size - 1).to(position.dtype)
    cell = low.to(tl.int32)
    first = tl.minimum(tl.maximum(cell, 0), size - 1)
    second = tl.minimum(tl.maximum(cell + 1, 0), size - 1)
    weights = (1.0 - share) * has_low, share * has_high
    return first, second, weights, (-has_low * slope, has_high * slope)


@triton.jit
def _places(offset, mask, cell, inside, tap, strides, geometry, kind: tl.constexpr):
    """Of one tap of cells: offsets of its four corners' rows, weights, slopes and mask."""
    height, width, out_height, out_width, kernel_width, stride, padding, dilation = geometry
    image = (cell // (out_height * out_width)).to(tl.int64)
    row, column = (cell // out_width) % out_height, cell % out_width
    offset += image * strides[0] + row * strides[2] + column * strides[3]
    dy = tl.load(offset + 2 * tap * strides[1], mask=inside, other=0.0).to(kind)
    dx = tl.load(offset + (2 * tap + 1) * strides[1], mask=inside, other=0.0).to(kind)
    mask += image * strides[4] + tap * strides[5] + row * strides[6] + column * strides[7]
    factor = tl.load(mask, mask=inside, other=0.0).to(kind)
    y = (row * stride - padding + (tap // kernel_width) * dilation).to(kind) + dy
    x = (column * stride - padding + (tap % kernel_width) * dilation).to(kind) + dx
    top, bottom, down, down_slopes = _neighbours(y, height)
    left, right, across, across_slopes = _neighbours(x, width)
    top, bottom = (image * height + top) * width, (image * height + bottom) * width
    corners = top + left, top + right, bottom + left, bottom + right
    return corners, down, across, down_slopes, across_slopes, factor


@triton.jit
def _sample_kernel(
    rows,
    offset,
    mask,
    columns,
    first_cell,
    end_cell,
    channels,
    taps,
    strides,
    geometry,
    kind: tl.constexpr,
    cells: tl.constexpr,
    width: tl.constexpr,
):
    number = tl.program_id(0) * cells + tl.arange(0, cells)
    cell, tap = first_cell + number, tl.program_id(1)
    inside = cell < end_cell
    corners, down, across, _, _, factor = _places(
        offset, mask, cell, inside, tap, strides, geometry, kind
    )
    target = columns + (number.to(tl.int64) * taps + tap)[:, None] * channels
    upper, lower = down[0] * factor, down[1] * factor
    for start in range(0, channels, width):
        channel = start + tl.arange(0, width)[None, :]
        known = inside[:, None] & (channel < channels)
        value = tl.zeros((cells, width), kind)
        for corner in tl.static_range(4):
            source = rows + corners[corner][:, None] * channels + channel
            weight = (upper if corner < 2 else lower) * across[corner % 2]
            value += tl.load(source, mask=known, other=0.0).to(kind) * weight[:, None]
        tl.store(target + channel, value.to(columns.dtype.element_ty), mask=known)


@triton.jit
def _collect_kernel(
    rows,
    offset,
    mask,
    gradient,
    to_rows,
    to_offset,
    to_mask,
    first_cell,
    end_cell,
    channels,
    taps,
    strides,
    geometry,
    kind: tl.constexpr,
    cells: tl.constexpr,
    width: tl.constexpr,
):
    number = tl.program_id(0) * cells + tl.arange(0, cells)
    cell, tap = first_cell + number, tl.program_id(1)
    inside = cell < end_cell
    corners, down, across, down_slopes, across_slopes, factor = _places(
        offset, mask, cell, inside, tap, strides, geometry, kind
    )
    given = gradient + (number.to(tl.int64) * taps + tap)[:, None] * channels
    of_mask = tl.zeros((cells,), kind)
    of_y = tl.zeros((cells,), kind)
    of_x = tl.zeros((cells,), kind)
    for corner in tl.static_range(4):
        vertical, horizontal = down[corner // 2], across[corner % 2]
        weight = (vertical * horizontal * factor)[:, None]
        place = corners[corner][:, None] * channels
        product = tl.zeros((cells,), kind)  # of the gradient and the row of this corner
        for start in range(0, channels, width):
            channel = start + tl.arange(0, width)[None, :]
            known = inside[:, None] & (channel < channels)
            value = tl.load(given + channel, mask=known, other=0.0).to(kind)
            row = tl.load(rows + place + channel, mask=known, other=0.0).to(kind)
            product += tl.sum(value * row, 1)
            if to_rows is not None:
                tl.atomic_add(to_rows + place + channel, value * weight, known & (weight != 0.0))
        of_mask += vertical * horizontal * product
        of_y += down_slopes[corner // 2] * horizontal * factor * product
        of_x += across_slopes[corner % 2] * vertical * factor * product
    target = cell.to(tl.int64) * taps + tap
    tl.store(to_mask + target, of_mask, mask=inside)
    tl.store(to_offset + 2 * target, of_y, mask=inside)
    tl.store(to_offset + 2 * target + 1, of_x, mask=inside)


def launch_once() -> None:
    """Launch the kernels on one cell, which raises where Triton cannot run."""
    cell = torch.zeros((1, 1, 1, 1), device="cuda", requires_grad=True)
    offset = torch.zeros((1, 2, 1, 1), device="cuda", requires_grad=True)
    out = sample_and_multiply(cell, offset, cell, cell, None, padding=0, dilation=1, stride=1)
    torch.autograd.grad(out.sum(), [cell, offset])


def sample_and_multiply(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, **steps: int
) -> Tensor:
    """Compute a modulated deformable convolution; see `deform_gather.gather_and_multiply`."""
    images, channels, height, width = x.shape
    outputs, _, kernel_height, kernel_width = weight.shape
    out_height, out_width = offset.shape[2:]
    form = (steps["stride"], steps["padding"], steps["dilation"])
    geometry = (height, width, out_height, out_width, kernel_width, *form)
    # Every permuted reshape is a view where its tensor is channels-last.
    rows = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    kernel = weight.permute(0, 2, 3, 1).reshape(outputs, kernel_height * kernel_width * channels)
    rows = rows.reshape(images * height * width, channels)
    out = _SampleAndMultiply.apply(rows, offset, mask, kernel, bias, geometry)
    return out.view(images, out_height, out_width, outputs).permute(0, 3, 1, 2)


class _SampleAndMultiply(torch.autograd.Function):
    """rows (N * H * W, C), offset (N, 2T, H', W'), mask, kernel (C', T * C) -> (N * H' * W', C').

    The backward pass samples again, so that the columns are never stored.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        offset: Tensor,
        mask: Tensor,
        kernel: Tensor,
        bias: Tensor | None,
        geometry: Geometry,
    ) -> Tensor:
        ctx.save_for_backward(rows, offset, mask, kernel)
        ctx.has_bias, ctx.geometry = bias is not None, geometry
        out = rows.new_empty(mask[:, 0].numel(), kernel.shape[0])
        for block in _blocks(len(out), kernel):
            columns = _sample(rows, offset, mask, block, geometry)
            if bias is None:
                torch.mm(columns, kernel.t(), out=out[block])
            else:
                torch.addmm(bias, columns, kernel.t(), out=out[block])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        rows, offset, mask, kernel = ctx.saved_tensors
        wide = torch.promote_types(rows.dtype, torch.float32)
        grad_rows = torch.zeros_like(rows, dtype=wide) if ctx.needs_input_grad[0] else None
        grad_kernel = torch.zeros_like(kernel, dtype=wide)
        images, taps, *size = mask.shape
        grad_offset = mask.new_empty((images, *size, 2 * taps), dtype=wide)
        grad_mask = mask.new_empty((images, *size, taps), dtype=wide)
        for block in _blocks(len(grad_out), kernel):
            grad_kernel += grad_out[block].t() @ _sample(rows, offset, mask, block, ctx.geometry)
            maps = (rows, offset, mask, grad_out[block] @ kernel)
            results = (grad_rows, grad_offset, grad_mask)
            _launch(_collect_kernel, *maps, *results, block=block, geometry=ctx.geometry)
        return (
            None if grad_rows is None else grad_rows.to(rows.dtype),
            grad_offset.permute(0, 3, 1, 2).to(offset.dtype),
            grad_mask.permute(0, 3, 1, 2).to(mask.dtype),
            grad_kernel.to(kernel.dtype),
            grad_out.sum(0) if ctx.has_bias else None,
            None,
        )


def _blocks(cells: int, kernel: Tensor) -> list[slice]:
    """Parts of all output cells whose columns are of at most `BLOCK_BYTES`."""
    step = max(1, BLOCK_BYTES // (kernel.shape[1] * kernel.element_size()))
    return [slice(first, min(first + step, cells)) for first in range(0, cells, step)]


def _sample(rows: Tensor, offset: Tensor, mask: Tensor, block: slice, geometry: Geometry) -> Tensor:
    """Columns (cells, T * C) of a block of output cells."""
    columns = rows.new_empty(block.stop - block.start, mask.shape[1] * rows.shape[1])
    _launch(_sample_kernel, rows, offset, mask, columns, block=block, geometry=geometry)
    return columns


def _launch(kernel: Any, *tensors: Any, block: slice, geometry: Geometry) -> None:
    rows, offset, mask = tensors[:3]
    taps = mask.shape[1]
    kernel[(triton.cdiv(block.stop - block.start, CELLS), taps)](
        *(*tensors, block.start, block.stop, rows.shape[1], taps),
        *((*offset.stride(), *mask.stride()), geometry),
        kind=tl.float64 if rows.dtype == torch.float64 else tl.float32,
        cells=CELLS,
        width=min(CHANNELS, triton.next_power_of_2(rows.shape[1])),
        num_warps=WARPS,
    )
