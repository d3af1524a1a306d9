"""Deformable convolution on a CPU: gather bilinear samples, then multiply with the kernel.

The map is a table of (N * H * W) rows of C numbers. A sample is a bag of four rows with four
weights (bilinear x mask), which is what `embedding_bag` computes with vector instructions; the
samples of a block of output cells then are a matrix that one product turns into the output.
Gradients of the rows are a gather as well, after sorting by row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Bytes of gathered samples at a time. Forward: what stays in the caches of two cores. Backward:
# larger, because each block adds one pass over the gradient of the map; under 32 MiB, above which
# the allocator asks the system for fresh pages every time.
FORWARD_BLOCK_BYTES = 2 << 20
BACKWARD_BLOCK_BYTES = 24 << 20


def gather_and_multiply(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, **steps: int
) -> Tensor:
    """Compute a modulated deformable convolution.

    Arguments and result are those of `deform_conv.modulated_deform_conv2d`. Shapes must fit and
    `x`, `weight` and `bias` have one dtype. The result is channels-last. Once differentiable.
    """
    images, channels = x.shape[:2]
    out_height, out_width = offset.shape[2:]
    numbers = [*x.shape[2:], out_height, out_width, *weight.shape[2:]]
    numbers += [steps[name] for name in ("padding", "dilation", "stride")]
    cells, taps = out_height * out_width, mask.shape[1]
    dtype = torch.promote_types(x.dtype, torch.float32)
    # Every permuted reshape is a view where its tensor is channels-last.
    rows = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    rows = rows.reshape(images * x.shape[2] * x.shape[3], channels)
    offset = offset.permute(0, 2, 3, 1).reshape(images, cells, taps, 2).to(dtype)
    mask = mask.permute(0, 2, 3, 1).reshape(images, cells, taps).to(dtype)
    kernel = weight.permute(0, 2, 3, 1).reshape(weight.shape[0], taps * channels)
    if torch.compiler.is_compiling():
        from . import deform_operator

        out = deform_operator.gather_and_multiply(rows, offset, mask, kernel, bias, numbers)
    else:
        geometry = Geometry.of(numbers, offset)
        out = GatherAndMultiply.apply(rows, offset, mask, kernel, bias, geometry)
    return out.view(images, out_height, out_width, weight.shape[0]).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Geometry:
    """Sizes of the map, and where the undisplaced taps of one image's output cells lie."""

    height: int
    width: int
    grid_y: Tensor  # (P, T) row of each of P = H'W' output cells' T taps, in pixels of the map
    grid_x: Tensor  # (P, T) column

    @classmethod
    def of(cls, numbers: Sequence[int], like: Tensor) -> Self:
        """The grid in the dtype and on the device of a tensor.

        The numbers are height and width of the map, of the output and of the kernel; then padding,
        dilation and stride.
        """
        height, width, *sizes, padding, dilation, stride = numbers
        out_size, kernel_size = sizes[:2], sizes[2:]
        kind: dict[str, Any] = {"dtype": like.dtype, "device": like.device}

        def axis(cells: int, kernel: int) -> Tensor:
            cell = torch.arange(cells, **kind) * stride - padding
            return cell[:, None] + torch.arange(kernel, **kind) * dilation

        rows, columns = map(axis, out_size, kernel_size)
        shape = (*out_size, *kernel_size)
        count = kernel_size[0] * kernel_size[1]
        grid_y = rows[:, None, :, None].expand(shape).reshape(-1, count)
        grid_x = columns[None, :, None, :].expand(shape).reshape(-1, count)
        return cls(height, width, grid_y, grid_x)


def _corners(
    offset: Tensor, mask: Tensor, block: tuple[slice, slice], geometry: Geometry
) -> tuple[Tensor, Tensor]:
    """The four corners of each sample, from offset (n, p, T, 2) and mask (n, p, T) of a block.

    Returns:
        index (n, p, T, 4) int32 into the (N * H * W, C) rows, and weight (n, p, T, 4) = bilinear x
        mask, zero for corners outside the map.
    """
    images, cells = block
    first_row = torch.arange(images.start, images.stop, dtype=torch.int32, device=mask.device)
    first_row = (first_row * (geometry.height * geometry.width))[:, None, None]
    y, x = offset[..., 0] + geometry.grid_y[cells], offset[..., 1] + geometry.grid_x[cells]
    top, bottom, top_weight, bottom_weight = _neighbours(y, geometry.height)
    left, right, left_weight, right_weight = _neighbours(x, geometry.width)
    top = top * geometry.width + first_row
    bottom = bottom * geometry.width + first_row
    index = torch.stack((top + left, top + right, bottom + left, bottom + right), dim=-1)
    top_weight, bottom_weight = top_weight * mask, bottom_weight * mask
    weights = [v * h for v in (top_weight, bottom_weight) for h in (left_weight, right_weight)]
    return index, torch.stack(weights, dim=-1)


def _neighbours(position: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two cells around each position of an axis, int32 in [0, size), and their weights."""
    # What is farther out has no weight; clamping keeps the integers in range.
    position = position.clamp(-1, size)
    low = position.detach().floor()
    fraction = position - low
    low_weight = (1 - fraction) * ((low >= 0) & (low < size))
    high_weight = fraction * (low < size - 1)
    low_index = low.to(torch.int32)
    high_index = low_index + 1
    # Clamped as integers, because a NaN becomes an arbitrary one. Its weight carries the NaN on.
    low_index, high_index = low_index.clamp_(0, size - 1), high_index.clamp_(0, size - 1)
    return low_index, high_index, low_weight, high_weight


def _blocks(
    images: int, cells: int, bytes_per_cell: int, budget: int
) -> Iterator[tuple[slice, slice]]:
    """Cut (images, cells) into whole images, or parts of one, of at most `budget` bytes."""
    cells_per_block = max(1, budget // bytes_per_cell)
    images_per_block = max(1, cells_per_block // cells)
    for image in range(0, images, images_per_block):
        for cell in range(0, cells, cells_per_block):
            yield (
                slice(image, min(image + images_per_block, images)),
                slice(cell, min(cell + cells_per_block, cells)),
            )


def _sample(rows: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """(cells, T * C) samples of a block: the weighted sum of each bag of four rows."""
    samples = F.embedding_bag(
        index.view(-1, 4), rows, mode="sum", per_sample_weights=weight.view(-1, 4).to(rows.dtype)
    )
    return samples.view(index.shape[0] * index.shape[1], -1)


class GatherAndMultiply(torch.autograd.Function):
    """Sample, then multiply with the kernel, block by block.

    The backward pass samples again, so that the samples (T times the map) are never stored.
    rows (N * H * W, C), offset (N, P, T, 2), mask (N, P, T), kernel (C', T * C), bias (C',) or None
    -> (N * P, C').
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
        images, cells = mask.shape[:2]
        out = rows.new_empty(images * cells, kernel.shape[0])
        by_block = out.view(images, cells, kernel.shape[0])
        transposed = kernel.t()
        bytes_per_cell = kernel.shape[1] * rows.element_size()
        for block in _blocks(images, cells, bytes_per_cell, FORWARD_BLOCK_BYTES):
            index, weight = _corners(offset[block], mask[block], block, geometry)
            target = by_block[block].view(-1, kernel.shape[0])
            samples = _sample(rows, index, weight)
            if bias is None:
                torch.mm(samples, transposed, out=target)
            else:
                torch.addmm(bias, samples, transposed, out=target)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        rows, offset, mask, kernel = ctx.saved_tensors
        images, cells = mask.shape[:2]
        grad_out = grad_out.contiguous()
        by_block = grad_out.view(images, cells, kernel.shape[0])
        grad_rows = torch.zeros_like(rows) if ctx.needs_input_grad[0] else None
        grad_offset, grad_mask = torch.empty_like(offset), torch.empty_like(mask)
        grad_kernel = torch.zeros_like(kernel, dtype=torch.promote_types(kernel.dtype, torch.float))
        bytes_per_cell = kernel.shape[1] * rows.element_size()
        for block in _blocks(images, cells, bytes_per_cell, BACKWARD_BLOCK_BYTES):
            grad_block = by_block[block].reshape(-1, kernel.shape[0])
            grad_samples = (grad_block @ kernel).view(-1, rows.shape[1])
            with torch.enable_grad():
                block_offset = offset[block].detach().requires_grad_()
                block_mask = mask[block].detach().requires_grad_()
                index, weight = _corners(block_offset, block_mask, block, ctx.geometry)
                samples = _sample(rows.detach(), index, weight)
            grad_offset[block], grad_mask[block] = torch.autograd.grad(
                samples, (block_offset, block_mask), grad_samples.view_as(samples)
            )
            grad_kernel += grad_block.t() @ samples.detach()
            if grad_rows is not None:
                _scatter(grad_rows, grad_samples, index, weight.detach(), block[0], ctx.geometry)
        grad_bias = grad_out.sum(0) if ctx.has_bias else None
        return grad_rows, grad_offset, grad_mask, grad_kernel.to(kernel.dtype), grad_bias, None


def _scatter(
    grad_rows: Tensor,
    grad_samples: Tensor,
    index: Tensor,
    weight: Tensor,
    images: slice,
    geometry: Geometry,
) -> None:
    """Add each sample's gradient to its four rows.

    Sorted by row this is a gather again, more than ten times faster than `index_add_`.
    """
    size = geometry.height * geometry.width
    touched = grad_rows[images.start * size : images.stop * size]
    row, order = index.view(-1).sort()
    start = torch.arange(
        images.start * size, images.stop * size, dtype=torch.int32, device=row.device
    )
    touched += F.embedding_bag(
        (order >> 2).to(torch.int32),
        grad_samples,
        torch.searchsorted(row, start, out_int32=True),
        mode="sum",
        per_sample_weights=weight.view(-1)[order].to(grad_samples.dtype),
    )
