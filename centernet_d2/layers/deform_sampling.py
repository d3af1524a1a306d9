"""Bilinear samples of a map at displaced positions, and their gradients, by operators of torch.

The map is a table of (N * H * W) rows of C numbers. A sample is a bag of four rows with four
weights (bilinear x mask), which is what `embedding_bag` computes with vector instructions.
Gradients of the rows are a gather as well, after sorting by row.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Block = tuple[slice, slice]  # images, and output cells of them; several images only as a whole


@dataclass(frozen=True)
class Geometry:
    """Where the undisplaced taps of an output cell lie in the map."""

    size: Sequence[int]  # height and width of the map
    out_size: Sequence[int]
    kernel_size: Sequence[int]
    padding: int
    dilation: int
    stride: int
    dtype: torch.dtype  # of positions and weights

    @cached_property
    def grid(self) -> Tensor:
        """(P, T, 2) row and column, in pixels of the map, of P = H'W' output cells' T taps."""

        def axis(cells: int, kernel: int) -> Tensor:
            cell = torch.arange(cells, dtype=self.dtype) * self.stride - self.padding
            return cell[:, None] + torch.arange(kernel, dtype=self.dtype) * self.dilation

        rows, columns = map(axis, self.out_size, self.kernel_size)
        shape = (*self.out_size, *self.kernel_size)
        both = rows[:, None, :, None].expand(shape), columns[None, :, None, :].expand(shape)
        return torch.stack(both, dim=-1).flatten(2, 3).flatten(0, 1)


class Gradients(NamedTuple):
    """Where gradients are put, of the shapes of what they are of; contiguous."""

    rows: Tensor | None  # added to; None if not wanted
    offset: Tensor
    mask: Tensor


class Sampler:
    """Samples of a map, block by block.

    Args:
        rows: (N * H * W, C), contiguous.
        offset: (N, P, T, 2), rows before columns.
        mask: (N, P, T).
        geometry: of the layer.
    """

    # Of samples at a time. Forward: what stays in the caches of two cores. Backward: larger,
    # because each block adds one pass over the gradient of the map; under 32 MiB, above which the
    # allocator asks the system for fresh pages every time.
    forward_bytes, backward_bytes = 2 << 20, 24 << 20

    def __init__(self, rows: Tensor, offset: Tensor, mask: Tensor, geometry: Geometry) -> None:
        self.rows, self.offset, self.mask, self.geometry = rows, offset, mask, geometry

    def sample(self, block: Block) -> Tensor:
        """Take the samples of a block, (cells, T * C); the next call may overwrite them."""
        offset, mask = self.offset[block], self.mask[block]
        index, weight = _corners(offset, mask, block, self.geometry)
        return self._weighted_rows(index, weight)

    def add_gradients(self, block: Block, grad_samples: Tensor, grads: Gradients) -> Tensor:
        """Put a block's part into the gradients, given (cells, T * C) of its samples; take them."""
        with torch.enable_grad():
            offset = self.offset[block].detach().requires_grad_()
            mask = self.mask[block].detach().requires_grad_()
            index, weight = _corners(offset, mask, block, self.geometry)
            samples = self._weighted_rows(index, weight)
        grads.offset[block], grads.mask[block] = torch.autograd.grad(
            samples, (offset, mask), grad_samples
        )
        if grads.rows is not None:
            grad_samples = grad_samples.view(-1, self.rows.shape[1])
            size = math.prod(self.geometry.size)
            _scatter(grads.rows, grad_samples, index, weight.detach(), block[0], size)
        return samples.detach()

    def _weighted_rows(self, index: Tensor, weight: Tensor) -> Tensor:
        """The weighted sum of each bag of four rows."""
        weight = weight.to(self.rows.dtype)
        samples = F.embedding_bag(index, self.rows, mode="sum", per_sample_weights=weight)
        return samples.view(-1, self.mask.shape[2] * self.rows.shape[1])


def _corners(
    offset: Tensor, mask: Tensor, block: Block, geometry: Geometry
) -> tuple[Tensor, Tensor]:
    """The four corners of each sample, from offset (n, p, T, 2) and mask (n, p, T) of a block.

    Returns:
        index (n * p * T, 4) int32 into the (N * H * W, C) rows, and weight (n * p * T, 4) =
        bilinear x mask, zero for corners outside the map.
    """
    images, cells = block
    first_row = torch.arange(images.start, images.stop, dtype=torch.int32)[:, None, None]
    grid = geometry.grid[cells]
    height, width = geometry.size
    top, bottom, top_weight, bottom_weight = _neighbours(offset[..., 0] + grid[..., 0], height)
    left, right, left_weight, right_weight = _neighbours(offset[..., 1] + grid[..., 1], width)
    top = (first_row * height + top) * width
    bottom = (first_row * height + bottom) * width
    index = torch.stack((top + left, top + right, bottom + left, bottom + right), dim=-1)
    top_weight, bottom_weight = top_weight * mask, bottom_weight * mask
    weights = [v * h for v in (top_weight, bottom_weight) for h in (left_weight, right_weight)]
    return index.view(-1, 4), torch.stack(weights, dim=-1).view(-1, 4)


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


def _scatter(
    grad_rows: Tensor, grad_samples: Tensor, index: Tensor, weight: Tensor, images: slice, size: int
) -> None:
    """Add each sample's gradient to its four rows, of images of `size` rows.

    Sorted by row this is a gather again, more than ten times faster than `index_add_`.
    """
    touched = slice(images.start * size, images.stop * size)
    row, order = index.view(-1).sort()
    start = torch.arange(touched.start, touched.stop, dtype=torch.int32)
    grad_rows[touched] += F.embedding_bag(
        (order >> 2).to(torch.int32),
        grad_samples,
        torch.searchsorted(row, start, out_int32=True),
        mode="sum",
        per_sample_weights=weight.view(-1)[order].to(grad_samples.dtype),
    )
