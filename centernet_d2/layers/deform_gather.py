"""Deformable convolution on a CPU: gather bilinear samples, then multiply with the kernel.

The samples of a block of output cells are a matrix that one product turns into the output. With
numba installed compiled loops take the samples (`deform_numba`), else operators of torch
(`deform_sampling`), several times slower.
"""

import functools
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .deform_sampling import Block, Geometry, Gradients, Sampler


def gather_and_multiply(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, **steps: int
) -> Tensor:
    """Compute a modulated deformable convolution.

    Arguments and result are those of `deform_conv.modulated_deform_conv2d`. Shapes must fit and
    `x`, `weight` and `bias` have one dtype. The result is channels-last. Once differentiable.
    """
    images, channels, height, width = x.shape
    out_size, taps = offset.shape[2:], mask.shape[1]
    numbers = [height, width, *out_size, *weight.shape[2:]]
    numbers += [steps[name] for name in ("padding", "dilation", "stride")]
    dtype = torch.promote_types(x.dtype, torch.float32)
    # Every permuted reshape is a view where its tensor is channels-last.
    rows = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    rows = rows.reshape(images * height * width, channels)
    offset = offset.permute(0, 2, 3, 1).reshape(images, out_size.numel(), taps, 2).to(dtype)
    mask = mask.permute(0, 2, 3, 1).reshape(images, out_size.numel(), taps).to(dtype)
    kernel = weight.permute(0, 2, 3, 1).reshape(weight.shape[0], taps * channels)
    given = (rows, offset, mask, kernel, bias)
    if torch.compiler.is_compiling():
        from . import deform_operator

        out = deform_operator.gather_and_multiply(*given, numbers)
    else:
        out = GatherAndMultiply.apply(*given, Geometry.of(numbers, offset))
    return out.view(images, *out_size, weight.shape[0]).permute(0, 3, 1, 2)


@functools.cache
def compiled_sampler() -> tuple[type[Sampler] | None, str]:
    """The sampler of compiled loops, None where it cannot be used, and what is used in words."""
    try:
        from . import deform_numba

        deform_numba.compile_one()
    except ModuleNotFoundError:
        return None, "operators of torch; faster with numba: {pip} install numba"
    except Exception as error:  # of whatever numba meets on this machine: torch's need none of it
        return None, f"operators of torch, as numba does not work here ({error!r})"
    return deform_numba.Sampler, "loops that numba compiles"


def _sampler(rows: Tensor) -> type[Sampler]:
    # A tensor of another type, such as torch's FakeTensor, may have no memory.
    compiles = type(rows) is Tensor and rows.dtype == torch.float32
    return (compiles and compiled_sampler()[0]) or Sampler


def _blocks(images: int, cells: int, bytes_per_cell: int, budget: int) -> Iterator[Block]:
    """Cut (images, cells) into whole images, or equal parts of one, of at most `budget` bytes."""
    most = max(1, budget // bytes_per_cell)
    images_per_block = max(1, most // max(1, cells))
    parts = -(-cells // most)
    for image in range(0, images, images_per_block):
        for part in range(parts):
            yield (
                slice(image, min(image + images_per_block, images)),
                slice(cells * part // parts, cells * (part + 1) // parts),
            )


def _as_picture(matrix: Tensor) -> Tensor:
    """(n, C) as a picture of C channels in n x 1 pixels: its 1 x 1 convolution is a product."""
    return matrix.view(1, len(matrix), 1, -1).permute(0, 3, 1, 2)


def _by_onednn(matrix: Tensor) -> bool:
    """Whether convolutions compute products faster: torch takes MKL's product of float32 matrices.

    That is half as fast as oneDNN's convolution on processors that are not Intel's.
    """
    return matrix.dtype == torch.float32 and torch.backends.mkldnn.is_available()


def _multiply(matrix: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """(n, C) and (C', C) to matrix @ kernel.t() + bias, (n, C')."""
    if not _by_onednn(matrix):
        return F.linear(matrix, kernel, bias)
    product = F.conv2d(_as_picture(matrix), kernel[:, :, None, None], bias)
    return product.permute(0, 2, 3, 1).reshape(len(matrix), -1)


def _multiply_transposed(left: Tensor, right: Tensor, kernel: Tensor) -> Tensor:
    """(n, C') and (n, C) to left.t() @ right, (C', C) as `kernel`, whose numbers do not matter."""
    if not _by_onednn(left):
        return left.t() @ right
    pictures, like = (_as_picture(left), _as_picture(right)), kernel[:, :, None, None]
    sizes = ([0], [1, 1], [0, 0], [1, 1], False, [0, 0], 1)  # of a plain 1 x 1 convolution
    wanted = [False, True, False]
    _, out, _ = torch.ops.aten.convolution_backward(*pictures, like, *sizes, wanted)
    return out.flatten(1)


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
        sampler = _sampler(rows)(rows, offset, mask, geometry)
        bytes_per_cell = kernel.shape[1] * rows.element_size()
        for block in _blocks(images, cells, bytes_per_cell, sampler.forward_bytes):
            samples = sampler.sample(block)
            by_block[block] = _multiply(samples, kernel, bias).view_as(by_block[block])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        rows, offset, mask, kernel = ctx.saved_tensors
        images, cells = mask.shape[:2]
        grad_out = grad_out.contiguous()
        by_block = grad_out.view(images, cells, kernel.shape[0])
        grads = Gradients(
            torch.zeros_like(rows) if ctx.needs_input_grad[0] else None,
            offset.new_empty(offset.shape),
            mask.new_empty(mask.shape),
        )
        grad_kernel = torch.zeros_like(kernel, dtype=torch.promote_types(kernel.dtype, torch.float))
        sampler = _sampler(rows)(rows, offset, mask, ctx.geometry)
        transposed = kernel.t().contiguous()
        bytes_per_cell = kernel.shape[1] * rows.element_size()
        for block in _blocks(images, cells, bytes_per_cell, sampler.backward_bytes):
            grad_block = by_block[block].reshape(-1, kernel.shape[0])
            samples = sampler.add_gradients(block, _multiply(grad_block, transposed), grads)
            grad_kernel += _multiply_transposed(grad_block, samples, kernel)
        grad_bias = grad_out.sum(0) if ctx.has_bias else None
        return (*grads, grad_kernel.to(kernel.dtype), grad_bias, None)
