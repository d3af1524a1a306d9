"""Faster inference: batch norms folded into convolutions, which on a CPU also add and apply ReLU.

In inference a batch norm is a fixed factor and summand per channel, which the convolution can apply
itself. What follows which convolution is observed while an image goes through the network, so any
network will do; blocks that add a shortcut are known. Outputs are compared with those before.
"""

import logging
from collections import Counter
from types import NoneType
from typing import Any

import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..layers.deform_conv import DeformConv2d
from ..layers.fused_conv import FusedConv2d, FusedResidual
from ..structures.nested import tensors_of

logger = logging.getLogger(__name__)

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, DeformConv2d)
NORMS = (_BatchNorm, FrozenBatchNorm2d)
TOLERANCE = 1e-4  # of the largest output; rounding alone stays far below
RESIDUALS = {
    "centernet_d2.layers.blocks.ResidualBlock": (2, ("pool", "skip")),
    "torchvision.models.resnet.BasicBlock": (2, ("downsample",)),
    "torchvision.models.resnet.Bottleneck": (3, ("downsample",)),
    "timm.models.resnet.BasicBlock": (2, ("downsample",)),
    "timm.models.resnet.Bottleneck": (3, ("downsample",)),
    "detectron2.modeling.backbone.resnet.BasicBlock": (2, ("shortcut",)),
    "detectron2.modeling.backbone.resnet.BottleneckBlock": (3, ("shortcut",)),
}
"""Block -> how many of conv1, conv2 ..., each with ReLU, it has; what its shortcut is made of."""


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
    pairs, before = _observe(network, images, CONVOLUTIONS, NORMS)
    names = {module: name for name, module in network.named_modules()}
    for convolution, norm in pairs:
        _fold(convolution, norm)
        rest = getattr(norm, "act", nn.Identity())  # timm's norms have their activation inside
        _replace(network, names[norm], rest)
    if change := _changed(before, network(images)):
        raise RuntimeError(f"folding batch norm changed the network's output by {change:.3g}")
    return len(pairs)


@torch.no_grad()
def fuse_additions(network: nn.Module, images: Any) -> int:
    """Fuse convolutions with ReLU and additions, in place; return how many modules are replaced.

    None is, where outputs would change by more than rounding; that is warned of. The network is on
    a CPU, with norms folded; `images` are as for `fold_batch_norm`.
    """
    pairs, before = _observe(network, images, nn.Conv2d, nn.ReLU)
    replaced: list[tuple[str, nn.Module]] = []
    for name, module in list(network.named_modules()):
        if fused := _fused_residual(module):
            replaced.append((name, _replace(network, name, fused)))
    names = {module: name for name, module in network.named_modules()}
    offsets = {m.conv_offset_mask for m in names if isinstance(m, DeformConv2d)}
    relu_of = {c: relu for c, relu in pairs if _is_plain(c) and c in names}
    for module, name in names.items():
        if _is_plain(module) and module not in offsets:
            fused = FusedConv2d.of(module, relu=module in relu_of)
            replaced.append((name, _replace(network, name, fused)))
        elif module in relu_of.values():
            replaced.append((name, _replace(network, name, nn.Identity())))
    try:
        fault: Any = _changed(before, network(images))
    except (AttributeError, RuntimeError, TypeError) as error:  # operators of another torch
        fault = error
    if fault:
        logger.warning("additions are not fused into convolutions: outputs change, %s", fault)
        for name, module in reversed(replaced):
            _replace(network, name, module)
    return 0 if fault else len(replaced)


def _replace(network: nn.Module, name: str, new: nn.Module) -> nn.Module:
    parent, _, child = name.rpartition(".")
    old = network.get_submodule(name)
    setattr(network.get_submodule(parent), child, new)
    return old


def _changed(before: list[Tensor], outputs: Any) -> float:
    """The largest change of an output where one is too large for rounding, else 0."""
    for old, new in zip(before, tensors_of(outputs), strict=True):
        same = (old == new) | (old.isnan() & new.isnan())
        change = (old - new).abs().masked_fill_(same, 0).max()
        if not change <= TOLERANCE * old.nan_to_num(0, 0, 0).abs().max().clamp(min=1.0):
            return float(change)  # NaN, where one of them is: oneDNN's ReLU makes zeros of it
    return 0.0


def _observe(
    network: nn.Module, images: Any, makers: Any, takers: Any
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
        given = arguments[0] if arguments else None  # by keyword: nothing is folded
        output, version, maker = made_by.get(id(given), (None, 0, None))
        if output is not None and output._version == version:  # not changed in place since
            pairs.append((maker, module))

    handles = []
    for module in network.modules():
        if isinstance(module, makers):
            inside = getattr(module, "norm", None)  # as detectron2's convolution has it
            pairs += [(module, inside)] if isinstance(inside, takers) else []
            handles.append(module.register_forward_hook(after_maker))
        elif isinstance(module, takers) and getattr(module, "running_mean", module) is not None:
            handles.append(module.register_forward_pre_hook(before_taker))
    try:
        outputs = [output.clone() for output in tensors_of(network(images))]
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


def _fused_residual(block: nn.Module) -> FusedResidual | None:
    """What replaces a block of the table, unless it has other parts than are written there."""
    kind, parts = type(block), dict(block.named_children())
    count, shortcut = RESIDUALS.get(f"{kind.__module__}.{kind.__qualname__}", (0, ()))
    convolutions = [parts.pop(f"conv{k + 1}") for k in range(count)]
    path = nn.Sequential(*(parts.pop(name) for name in shortcut if name in parts))
    known = count and all(isinstance(m, nn.Identity | nn.ReLU) for m in parts.values())
    return (
        FusedResidual(convolutions, path) if known and all(map(_is_plain, convolutions)) else None
    )


def _is_plain(module: Any) -> bool:
    """Whether it is a convolution and nothing else; detectron2's may have more inside."""
    more = [getattr(module, name, None) for name in ("norm", "activation")]
    plain = type(module) in (nn.Conv2d, Conv2d) and module.padding_mode == "zeros"
    plain = plain and not isinstance(module.padding, str)
    return plain and all(isinstance(each, nn.Identity | NoneType) for each in more)
