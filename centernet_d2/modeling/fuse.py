"""Faster inference: batch normalisation folded into the convolution before it.

In inference a batch norm is a fixed factor and summand per channel, which the convolution can apply
itself. Which norm follows which convolution is observed while an image goes through the network, so
any network will do, and the result is compared with what the network gave before.
"""

from collections import Counter
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from detectron2.layers import FrozenBatchNorm2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..layers.deform_conv import DeformConv2d

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, DeformConv2d)
NORMS = (_BatchNorm, FrozenBatchNorm2d)
Kinds = tuple[type[nn.Module], ...]
TOLERANCE = 1e-4  # of the largest output; rounding alone stays far below


@torch.no_grad()
def fold_batch_norm(network: nn.Module, images: Any) -> int:
    """Fold each batch norm that follows a convolution into it, in place.

    The network gives the same outputs up to rounding, but can no longer be trained or loaded with a
    checkpoint of its old names: fold what is only used to predict.

    Args:
        network: in eval mode.
        images: a small input, e.g. (1, 3, size_divisibility, size_divisibility), or what else the
            network takes; its values do not matter, but should not all be zero.

    Returns:
        How many norms were folded.

    Raises:
        RuntimeError: the outputs changed, because the network uses a convolution's output otherwise
            than through its norm. The network is unusable then.
    """
    if network.training:
        raise ValueError("fold_batch_norm needs a network in eval mode: call .eval() first")
    pairs, before = observe(network, images, CONVOLUTIONS, NORMS)
    names = {module: name for name, module in network.named_modules()}
    for convolution, norm in pairs:
        _fold(convolution, norm)
        parent, _, child = names[norm].rpartition(".")
        rest = getattr(norm, "act", nn.Identity())  # timm's norms have their activation inside
        setattr(network.get_submodule(parent), child, rest)
    if change := changed(before, network(images)):
        raise RuntimeError(f"folding batch norm changed the network's output by {change:.3g}")
    return len(pairs)


def changed(before: list[Tensor], outputs: Any) -> float:
    """The largest change of an output where one is too large for rounding, else 0."""
    for old, new in zip(before, _tensors(outputs), strict=True):
        if (change := (old - new).abs().max()) > TOLERANCE * old.abs().max().clamp(min=1.0):
            return float(change)
    return 0.0


def observe(
    network: nn.Module, images: Any, makers: Kinds, takers: Kinds
) -> tuple[list[tuple[nn.Module, nn.Module]], list[Tensor]]:
    """Pairs (maker, taker of nothing but its output), and the outputs of the network."""
    made_by: dict[int, tuple[Tensor, int, nn.Module]] = {}  # id of an output -> it, version, maker
    calls: Counter[nn.Module] = Counter()
    pairs: list[tuple[nn.Module, nn.Module]] = []

    def after_maker(module: nn.Module, _: Any, output: Tensor) -> None:
        calls[module] += 1
        made_by[id(output)] = (output, output._version, module)

    def before_taker(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        calls[module] += 1
        output, version, maker = made_by.get(id(arguments[0]), (None, 0, None))
        if output is not None and output._version == version:  # not changed in place since
            pairs.append((maker, module))

    handles = []
    for module in network.modules():
        if isinstance(module, makers):
            handles.append(module.register_forward_hook(after_maker))
        elif isinstance(module, takers) and getattr(module, "running_mean", module) is not None:
            handles.append(module.register_forward_pre_hook(before_taker))
    try:
        outputs = [output.clone() for output in _tensors(network(images))]
    finally:
        for handle in handles:
            handle.remove()
    return [pair for pair in pairs if calls[pair[0]] == calls[pair[1]] == 1], outputs


def _fold(convolution: nn.Module, norm: nn.Module) -> None:
    """Change the convolution to do what it and the norm do; computed in float64."""
    variance, mean = norm.running_var.double(), norm.running_mean.double()
    factor = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        factor = factor * norm.weight.double()
    bias = torch.zeros_like(mean) if convolution.bias is None else convolution.bias.double()
    bias = (bias - mean) * factor
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    weight = convolution.weight
    if isinstance(convolution, nn.ConvTranspose2d):  # (in, out / groups, k, k)
        by_group = factor.view(convolution.groups, -1)
        scale = by_group.repeat_interleave(weight.shape[0] // convolution.groups, dim=0)
        scale = scale[:, :, None, None]
    else:
        scale = factor[:, None, None, None]
    weight.copy_(weight.double() * scale)
    convolution.bias = nn.Parameter(bias.to(weight.dtype))


def _tensors(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    if outputs is None:
        return []
    if is_dataclass(outputs):
        outputs = [getattr(outputs, field.name) for field in fields(outputs)]
    values = outputs.values() if isinstance(outputs, dict) else outputs
    return [tensor for value in values for tensor in _tensors(value)]
