"""Convolutions that add a map to their output and apply ReLU themselves, to predict on a CPU.

oneDNN, by which torch convolves, can do that while an output is in the cache, and keep weights in
the order of its kernels. In torch these are the operators that compiled graphs call
(`torch.ops.mkldnn`), no public interface: who fuses compares outputs.
"""

import copy
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

_KINDS: set[tuple[str, torch.dtype]] = set()  # that are served here
if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
    _HALF = [("cpu", torch.bfloat16)] if torch.ops.mkldnn._is_mkldnn_bf16_supported() else []
    _KINDS = {("cpu", torch.float32), *_HALF}


class FusedConv2d(nn.Conv2d):
    """The convolution that it is made `of`, with its parameters and hooks, and what follows it."""

    relu: bool
    _ordered: Any = (None, None)  # for what, and the weights in oneDNN's order

    @classmethod
    def of(cls, convolution: nn.Conv2d, *, relu: bool) -> Self:
        """Fuse a convolution, whose parameters are shared, with ReLU or with nothing."""
        fused: Any = copy.copy(convolution)
        fused.__class__, fused.relu = cls, relu
        return fused

    def forward(self, features: Tensor, added: Tensor | None = None) -> Tensor:
        """(N, C, H, W), and perhaps a map to add to the output -> (N, C', H', W')."""
        if not self._is_served(features):
            output = super().forward(features)
            output = output if added is None else output + added
            return torch.relu_(output) if self.relu else output
        steps = (self.padding, self.stride, self.dilation, self.groups)
        given = (self._weight_for(features, steps), self.bias, *steps)
        compute, relu = torch.ops.mkldnn._convolution_pointwise, "relu" if self.relu else None
        if added is None:
            return compute(features, *given, relu or "none", [], "")
        return compute.binary(features, added, *given, "add", None, relu, [], "")

    def _is_served(self, features: Tensor) -> bool:
        """Whether oneDNN takes it now; gradients, and graphs that are made, need plain layers."""
        makes_graph = torch.compiler.is_compiling() or torch.jit.is_tracing()
        plain = type(features) is Tensor and features.dim() == 4 and features.numel()
        if makes_graph or not plain:
            return False
        tensors = (features, self.weight)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            return False
        kinds = {(tensor.device.type, tensor.dtype) for tensor in tensors}
        return kinds <= _KINDS and len(kinds) == 1 and not torch.is_autocast_enabled("cpu")

    def _weight_for(self, features: Tensor, steps: Sequence[Any]) -> Tensor:
        """The weights in oneDNN's order for inputs of this shape, kept for the next ones.

        In the order for another shape a product can take ten times as long. Ordering is a pass over
        the weights, which does not count where the map is larger than they are. Of weights changed
        by `.data`, or in another process, torch says nothing: they are not seen.
        """
        weight = self.weight
        if weight.numel() < features.numel():
            return weight
        key = (features.shape, weight.data_ptr(), 0 if weight.is_inference() else weight._version)
        kept, ordered = self._ordered  # read once, as other threads may predict too
        if kept is None or kept[:3] != key:
            ordered = torch.ops.mkldnn._reorder_convolution_weight(weight, *steps, features.shape)
            self._ordered = ((*key, weight.detach()), ordered)  # lest others get its address
        return ordered

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_ordered"}  # it is made again


class FusedResidual(nn.Module):
    """A residual block: convolutions with ReLU, of which the last also adds a shortcut."""

    def __init__(self, convolutions: Sequence[nn.Conv2d], shortcut: nn.Module) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(*(FusedConv2d.of(c, relu=True) for c in convolutions))
        self.shortcut = shortcut

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H', W')."""
        last: Any = self.convolutions[-1]
        return last(self.convolutions[:-1](features), self.shortcut(features))
