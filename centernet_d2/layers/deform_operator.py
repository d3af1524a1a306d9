"""The samples and their product as an operator, which a compiler takes as one call."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey, DispatchKeySet

from . import deform_gather


@torch.library.custom_op("centernet_d2::gather_and_multiply", mutates_args=())
def gather_and_multiply(
    rows: Tensor,
    offset: Tensor,
    mask: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    numbers: Sequence[int],
) -> Tensor:
    """Compute `deform_gather.GatherAndMultiply`; the numbers are those of its geometry."""
    geometry = deform_gather.Geometry.of(numbers, offset)
    given = (rows, offset.contiguous(), mask.contiguous(), kernel, bias)
    unused = SimpleNamespace(save_for_backward=lambda *_: None)
    return deform_gather.GatherAndMultiply.forward(unused, *given, geometry)


@torch.library.custom_op("centernet_d2::gather_and_multiply_backward", mutates_args=())
def _gradients(
    gradient: Tensor,
    rows: Tensor,
    offset: Tensor,
    mask: Tensor,
    kernel: Tensor,
    numbers: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Of rows, offset, mask, kernel and a bias."""
    context = SimpleNamespace(
        saved_tensors=(rows, offset.contiguous(), mask.contiguous(), kernel),
        needs_input_grad=[True],
        has_bias=True,
        geometry=deform_gather.Geometry.of(numbers, offset),
    )
    # An operator runs without autograd, of which plain torch takes the gradients of positions.
    keys = torch._C._dispatch_tls_local_exclude_set() - DispatchKeySet(DispatchKey.AutogradCPU)
    keys -= DispatchKeySet(DispatchKey.ADInplaceOrView)
    with torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), keys):
        found: Any = deform_gather.GatherAndMultiply.backward(context, gradient)
    return tuple(found[:5])


@gather_and_multiply.register_fake
def _(rows: Tensor, _: Tensor, mask: Tensor, kernel: Tensor, *__: Any) -> Tensor:
    return rows.new_empty(mask.shape[0] * mask.shape[1], len(kernel))


@_gradients.register_fake
def _(gradient: Tensor, *given: Any) -> tuple[Tensor, ...]:
    of_bias = gradient.new_empty(gradient.shape[1])
    return *(each.new_empty(each.shape) for each in given[:4]), of_bias


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, bias, ctx.numbers = inputs
    ctx.has_bias = bias is not None
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    *found, of_bias = _gradients(gradient, *ctx.saved_tensors, ctx.numbers)
    return *found, of_bias if ctx.has_bias else None, None


gather_and_multiply.register_autograd(_backward, setup_context=_remember)
