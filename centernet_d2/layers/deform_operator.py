"""The samples and their product as an operator, which a compiler takes as one call."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey, DispatchKeySet

from .deform_gather import GatherAndMultiply
from .deform_sampling import Geometry


@torch.library.custom_op("centernet_d2::gather_and_multiply", mutates_args=())
def gather_and_multiply(
    rows: Tensor,
    offset: Tensor,
    mask: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    size: Sequence[int],
    out_size: Sequence[int],
    kernel_size: Sequence[int],
    padding: int,
    dilation: int,
    stride: int,
) -> Tensor:
    """Compute `GatherAndMultiply`; the numbers are those of its geometry."""
    numbers = (size, out_size, kernel_size, padding, dilation, stride)
    context: Any = SimpleNamespace(save_for_backward=lambda *_: None)
    geometry = _geometry(numbers, offset)
    return GatherAndMultiply.forward(context, rows, offset, mask, kernel, bias, geometry)


@torch.library.custom_op("centernet_d2::gather_and_multiply_backward", mutates_args=())
def _gradients(
    gradient: Tensor,
    rows: Tensor,
    offset: Tensor,
    mask: Tensor,
    kernel: Tensor,
    size: Sequence[int],
    out_size: Sequence[int],
    kernel_size: Sequence[int],
    padding: int,
    dilation: int,
    stride: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Of rows, offset, mask, kernel and a bias."""
    numbers = (size, out_size, kernel_size, padding, dilation, stride)
    context = SimpleNamespace(
        saved_tensors=(rows, offset, mask, kernel), needs_input_grad=[True], has_bias=True
    )
    context.geometry = _geometry(numbers, offset)
    # An operator runs without autograd, by which plain torch finds the gradients of positions.
    keys = torch._C._dispatch_tls_local_exclude_set() - DispatchKeySet(DispatchKey.AutogradCPU)
    keys -= DispatchKeySet(DispatchKey.ADInplaceOrView)
    with torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), keys):
        found: Any = GatherAndMultiply.backward(context, gradient)
    return tuple(found[:5])


def _geometry(numbers: Sequence[Any], like: Tensor) -> Geometry:
    sizes: list[Any] = [tuple(each) for each in numbers[:3]]
    padding, dilation, stride = numbers[3:]
    return Geometry(*sizes, padding, dilation, stride, like.dtype)


@gather_and_multiply.register_fake
def _(rows: Tensor, _: Tensor, mask: Tensor, kernel: Tensor, *__: Any) -> Tensor:
    return rows.new_empty(mask.shape[0] * mask.shape[1], kernel.shape[0])


@_gradients.register_fake
def _(gradient: Tensor, *given: Any) -> tuple[Tensor, ...]:
    of_bias = gradient.new_empty(gradient.shape[1])
    return *(each.new_empty(each.shape) for each in given[:4]), of_bias


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.has_bias, ctx.numbers = inputs[4] is not None, inputs[5:]
    ctx.save_for_backward(*inputs[:4])


def _backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    *found, of_bias = _gradients(gradient, *ctx.saved_tensors, *ctx.numbers)
    return *found, of_bias if ctx.has_bias else None, *[None] * len(ctx.numbers)


gather_and_multiply.register_autograd(_backward, setup_context=_remember)
