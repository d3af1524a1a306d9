"""Faster inference on a CPU: convolutions that apply ReLU and add the shortcut of a block.

Each of the two is a pass over the map otherwise. Norms are folded before, so that nothing lies in
between. Which ReLU follows which convolution is observed, as for norms; blocks that add are known.
"""

import logging
from types import NoneType
from typing import Any

import torch
from detectron2.layers import Conv2d
from torch import nn

from ..layers.deform_conv import DeformConv2d
from ..layers.fused_conv import FusedConv2d, FusedResidual
from .fuse import changed, observe

logger = logging.getLogger(__name__)

TWO, THREE = ("conv1", "conv2"), ("conv1", "conv2", "conv3")
RESIDUALS = {
    "centernet_d2.layers.blocks.ResidualBlock": (TWO, ("pool", "skip")),
    "torchvision.models.resnet.BasicBlock": (TWO, ("downsample",)),
    "torchvision.models.resnet.Bottleneck": (THREE, ("downsample",)),
    "timm.models.resnet.BasicBlock": (TWO, ("downsample",)),
    "timm.models.resnet.Bottleneck": (THREE, ("downsample",)),
    "detectron2.modeling.backbone.resnet.BasicBlock": (TWO, ("shortcut",)),
    "detectron2.modeling.backbone.resnet.BottleneckBlock": (THREE, ("shortcut",)),
}
"""Block -> its convolutions, each with ReLU, the last after the addition; its shortcut's parts."""


@torch.no_grad()
def fuse_additions(network: nn.Module, images: Any) -> int:
    """Fuse convolutions with ReLU and additions, in place; outputs stay up to rounding.

    Args:
        network: in eval mode, on a CPU, with norms folded.
        images: what it takes, as for `fold_batch_norm`.

    Returns:
        How many modules were replaced: none where the outputs changed, which is warned of.
    """
    replaced: list[tuple[nn.Module, str, nn.Module]] = []  # where a module was, and which

    def replace(name: str, module: nn.Module) -> None:
        parent, _, child = name.rpartition(".")
        replaced.append((network.get_submodule(parent), child, network.get_submodule(name)))
        setattr(network.get_submodule(parent), child, module)

    for name, module in list(network.named_modules()):
        if fused := _fused_residual(module):
            replace(name, fused)
    pairs, before = observe(network, images, (nn.Conv2d,), (nn.ReLU,))
    relu_of = {convolution: relu for convolution, relu in pairs if _is_plain(convolution)}
    names = {module: name for name, module in network.named_modules()}
    offsets = {m.conv_offset_mask for m in names if isinstance(m, DeformConv2d)}
    for module, name in names.items():
        if _is_plain(module) and module not in offsets:
            replace(name, FusedConv2d.of(module, relu=module in relu_of))
    for relu in relu_of.values():
        replace(names[relu], nn.Identity())
    try:
        fault: Any = changed(before, network(images))
    except (AttributeError, RuntimeError, TypeError) as error:  # another torch, other operators
        fault = error
    if fault:
        logger.warning("additions are not fused into convolutions: outputs change, %s", fault)
        for parent, child, module in reversed(replaced):
            setattr(parent, child, module)
    return 0 if fault else len(replaced)


def _fused_residual(block: nn.Module) -> FusedResidual | None:
    """What replaces a block of the table, unless it has other parts than are written there."""
    kind = type(block)
    names, shortcut = RESIDUALS.get(f"{kind.__module__}.{kind.__qualname__}", ((), ()))
    parts = [child for name, child in block.named_children() if name in shortcut]
    convolutions = [getattr(block, name) for name in names]
    others = [m for n, m in block.named_children() if n not in (*names, *shortcut)]
    known = all(isinstance(m, nn.Identity | nn.ReLU) for m in others)
    if not names or not known or not all(map(_is_plain, convolutions)):
        return None
    return FusedResidual(convolutions, nn.Sequential(*parts))


def _is_plain(module: nn.Module) -> bool:
    """Whether it is a convolution and nothing else; detectron2's may have a norm inside."""
    return (
        type(module) in (nn.Conv2d, Conv2d)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and isinstance(getattr(module, "norm", None), nn.Identity | NoneType)
        and getattr(module, "activation", None) is None
    )
