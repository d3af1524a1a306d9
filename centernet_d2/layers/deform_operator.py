"""The samples and their product as an operator, which a compiler takes as one call."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey, DispatchKeySet

from .deform_gather import GatherAndMultiply
from .deform_sampling import Geometry

NAME, TENSORS = "centernet_d2::gather_and_multiply", "Tensor rows, Tensor offset, Tensor mask"
FORWARD = f"({TENSORS}, Tensor kernel, Tensor? bias, SymInt[] numbers) -> Tensor"
BACKWARD = f"(Tensor gradient, {TENSORS}, Tensor kernel, SymInt[] numbers) -> Tensor[]"


@torch.library.custom_op(NAME, mutates_args=(), schema=FORWARD)
def gather_and_multiply(*given: Any) -> Tensor:
    """Compute `GatherAndMultiply`; the numbers are those of its geometry, in their order."""
    context = SimpleNamespace(save_for_backward=lambda *_: None)
    all_of_it: list[Any] = [context, *given[:-1], Geometry.of(given[-1], given[1])]
    return GatherAndMultiply.forward(*all_of_it)


@torch.library.custom_op(f"{NAME}_backward", mutates_args=(), schema=BACKWARD)
def _gradients(gradient: Tensor, *given: Any) -> list[Tensor]:
    """Of rows, offset, mask, kernel and a bias."""
    *tensors, numbers = given
    context = SimpleNamespace(saved_tensors=tensors, needs_input_grad=[True], has_bias=True)
    context.geometry = Geometry.of(numbers, tensors[1])
    # An operator runs without autograd, by which plain torch finds the gradients of positions.
    keys = torch._C._dispatch_tls_local_exclude_set() - DispatchKeySet(DispatchKey.AutogradCPU)
    keys -= DispatchKeySet(DispatchKey.ADInplaceOrView)
    with torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), keys):
        found: Any = GatherAndMultiply.backward(context, gradient)
    return list(found[:5])


@gather_and_multiply.register_fake
def _(rows: Tensor, _: Tensor, mask: Tensor, kernel: Tensor, *__: Any) -> Tensor:
    return rows.new_empty(mask.shape[0] * mask.shape[1], kernel.shape[0])


@_gradients.register_fake
def _(gradient: Tensor, *given: Any) -> list[Tensor]:
    found = [each.new_empty(each.shape) for each in given[:4]]
    return [*found, gradient.new_empty(gradient.shape[1])]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.has_bias, ctx.numbers = *inputs[:4], inputs[4] is not None, inputs[5]
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    *found, of_bias = _gradients(gradient, *ctx.saved_tensors, ctx.numbers)
    return *found, of_bias if ctx.has_bias else None, None


gather_and_multiply.register_autograd(_backward, setup_context=_remember)
