"""A convolution that adds and clips its output itself, for prediction on a CPU.

torch computes convolutions by oneDNN, which can add a map and apply ReLU while an output is still
in the cache, and keep weights in the order of its own kernels. In torch these are the operators
that compiled graphs call (`torch.ops.mkldnn`), no public interface: who fuses compares outputs.
"""

import copy
import functools
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn


class FusedConv2d(nn.Conv2d):
    """A convolution; another map is added to its output where one is given; ReLU where asked for.

    All else is that of the convolution which it is made `of`: parameters, their names, hooks.
    """

    relu: bool
    _packed: tuple[Any, Tensor | None]  # of which weights and inputs, and the weights for oneDNN

    @classmethod
    def of(cls, convolution: nn.Conv2d, *, relu: bool) -> Self:
        """Fuse a convolution with what follows it; the parameters are the same objects."""
        fused: Any = copy.copy(convolution)
        fused.__class__, fused.relu, fused._packed = cls, relu, (None, None)
        return fused

    def forward(self, features: Tensor, added: Tensor | None = None) -> Tensor:
        """(N, C, H, W), and perhaps a map like the output -> (N, C', H', W')."""
        if not self._fits(features):
            output = super().forward(features)
            output = output if added is None else output + added
            return torch.relu_(output) if self.relu else output
        steps = (self.padding, self.stride, self.dilation, self.groups)
        given = (self._weight_for(features, steps), self.bias, *steps)
        compute = torch.ops.mkldnn._convolution_pointwise
        if added is None:
            return compute(features, *given, "relu" if self.relu else "none", [], "")
        return compute.binary(
            features, added, *given, "add", None, "relu" if self.relu else None, [], ""
        )

    def _fits(self, features: Tensor) -> bool:
        """Whether oneDNN takes it now; gradients, and graphs that are made, need plain layers."""
        weight = self.weight
        return (
            type(features) is Tensor  # and not what stands for one while a graph is made
            and features.device.type == weight.device.type == "cpu"
            and features.dtype == weight.dtype
            and not (torch.compiler.is_compiling() or torch.jit.is_tracing())
            and not (torch.is_grad_enabled() and (features.requires_grad or weight.requires_grad))
            and not torch.is_autocast_enabled("cpu")
            and features.numel() > 0
            and _can_fuse(features.dtype)
        )

    def _weight_for(self, features: Tensor, steps: Sequence[Any]) -> Tensor:
        """The weights in oneDNN's order for inputs of this shape, kept for the next ones.

        In the order for another shape a product can take ten times as long. Ordering is a pass over
        the weights, which does not count where the map is larger than they are.
        """
        weight = self.weight
        if weight.numel() < features.numel():
            return weight
        version = None if weight.is_inference() else weight._version
        key = (features.shape, weight.data_ptr(), version)
        kept, packed = self._packed  # read once, as other threads may predict too
        if packed is None or kept != key:
            packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *steps, features.shape)
            self._packed = (key, packed)
        return packed

    def _apply(self, *arguments: Any, **options: Any) -> Self:
        self._packed = (None, None)
        return super()._apply(*arguments, **options)

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: not what can be made again."""
        return {**self.__dict__, "_packed": (None, None)}


class FusedResidual(nn.Module):
    """Convolutions in a row, each with ReLU; the last also adds a shortcut of the input before.

    (N, C, H, W) -> (N, C', H', W'), as the residual block that it is made of.
    """

    def __init__(self, convolutions: Sequence[nn.Conv2d], shortcut: nn.Module) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(FusedConv2d.of(c, relu=True) for c in convolutions)
        self.shortcut = shortcut

    def forward(self, features: Tensor) -> Tensor:
        residual = features
        for convolution in self.convolutions[:-1]:
            residual = convolution(residual)
        return self.convolutions[-1](residual, self.shortcut(features))


@functools.cache
def _can_fuse(dtype: torch.dtype) -> bool:
    ops = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or not hasattr(ops, "_convolution_pointwise"):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and ops._is_mkldnn_bf16_supported())
