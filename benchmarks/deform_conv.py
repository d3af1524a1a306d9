"""Our deformable convolution against torchvision's operator, in one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

from centernet_d2.layers.deform_conv import modulated_deform_conv2d

from .sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from .timing import Call, comparison_rows, time_interleaved

# (channels in, channels out, side of the map): the first is the usual test case, the others are the
# layers of ResNet-18 with deformable up-sampling at 512 x 512.
SHAPES = ((64, 64, 128), (512, 256, 16), (256, 128, 32), (128, 64, 64))


REFERENCE = "torchvision float32"


@dataclass(frozen=True)
class LayerInputs:
    """What a modulated deformable convolution of a 3 x 3 kernel takes."""

    x: Tensor
    offset: Tensor
    mask: Tensor
    weight: Tensor
    bias: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, in the order of the operator's arguments."""
        return self.x, self.offset, self.mask, self.weight, self.bias

    def to(self, dtype: torch.dtype, memory_format: torch.memory_format) -> LayerInputs:
        """Return leaf copies that ask for gradients."""
        copies = [tensor.to(dtype) for tensor in self.tensors()]
        copies = [
            copy.contiguous(memory_format=memory_format) if copy.dim() == 4 else copy
            for copy in copies
        ]
        return LayerInputs(*(copy.detach().clone().requires_grad_() for copy in copies))


@BENCHMARK_REGISTRY.register()
def deform_conv(options: BenchmarkOptions) -> list[Row]:
    """Milliseconds per call and ratios to torchvision's operator; offsets are N(0, 1) pixels.

    Our layer is given channels-last tensors and torchvision's contiguous ones, as each works best.
    A plain convolution of the same size is there for scale.
    """
    rows = []
    for shape in SHAPES:
        for batch in sorted({min(options.batches), max(options.batches)}):
            for backward in (False, True):
                rows += _compare(shape, batch, backward, options)
    return rows


def random_layer(
    in_channels: int, out_channels: int, side: int, batch: int, device: torch.device
) -> LayerInputs:
    """Random inputs of a layer; the same for equal arguments."""
    torch.manual_seed(0)
    return LayerInputs(
        x=torch.randn(batch, in_channels, side, side, device=device),
        offset=torch.randn(batch, 18, side, side, device=device),
        mask=torch.rand(batch, 9, side, side, device=device),
        weight=torch.randn(out_channels, in_channels, 3, 3, device=device) / in_channels,
        bias=torch.randn(out_channels, device=device),
    )


def _ours(layer: LayerInputs) -> Tensor:
    return modulated_deform_conv2d(*layer.tensors())


def _torchvision(layer: LayerInputs) -> Tensor:
    return deform_conv2d(
        layer.x, layer.offset, layer.weight, layer.bias, padding=1, mask=layer.mask
    )


def _plain(layer: LayerInputs) -> Tensor:
    return F.conv2d(layer.x, layer.weight, layer.bias, padding=1)


def _calls(layer: LayerInputs, backward: bool) -> dict[str, Call]:
    nchw, nhwc = torch.contiguous_format, torch.channels_last
    alternatives = {
        REFERENCE: (_torchvision, layer.to(torch.float32, nchw)),
        "torchvision bfloat16": (_torchvision, layer.to(torch.bfloat16, nchw)),
        "ours float32": (_ours, layer.to(torch.float32, nhwc)),
        "ours bfloat16": (_ours, layer.to(torch.bfloat16, nhwc)),
        "plain float32": (_plain, layer.to(torch.float32, nhwc)),
        "plain bfloat16": (_plain, layer.to(torch.bfloat16, nhwc)),
    }
    calls = {}
    for name, (forward, inputs) in alternatives.items():
        call = _forward_and_backward(forward, inputs) if backward else _forward(forward, inputs)
        try:
            call()
        except (RuntimeError, NotImplementedError):  # torchvision has no bfloat16 on a CPU
            continue
        calls[name] = call
    return calls


def _forward(function: Callable[[LayerInputs], Tensor], inputs: LayerInputs) -> Call:
    def call() -> Tensor:
        with torch.no_grad():
            return function(inputs)

    return call


def _forward_and_backward(function: Callable[[LayerInputs], Tensor], inputs: LayerInputs) -> Call:
    def call() -> None:
        output = function(inputs)
        torch.autograd.grad(output, inputs.tensors(), torch.ones_like(output), allow_unused=True)

    return call


def _compare(
    shape: tuple[int, int, int], batch: int, backward: bool, options: BenchmarkOptions
) -> list[Row]:
    device = torch.device(options.device)
    in_channels, out_channels, side = shape
    calls = _calls(random_layer(*shape, batch, device), backward)
    timings = time_interleaved(calls, rounds=options.rounds, warm_up=options.warm_up, device=device)
    subject = {
        "layer": f"{in_channels} to {out_channels}, {side} x {side}",
        "batch": batch,
        "pass": "forward + backward" if backward else "forward",
    }
    return comparison_rows(subject, timings, REFERENCE)
