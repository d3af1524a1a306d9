"""Our deformable convolution against torchvision's operator, in one run."""

from __future__ import annotations

from itertools import product
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

from centernet_d2.benchmark.sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from centernet_d2.benchmark.timing import Call
from centernet_d2.layers import deform_gather
from centernet_d2.layers.deform_conv import modulated_deform_conv2d

from .comparing import comparison_rows, forward, forward_and_backward

# (channels in, channels out, side of the map): the first is the usual test case, the others are the
# layers of ResNet-18 with deformable up-sampling at 512 x 512.
SHAPES = ((64, 64, 128), (512, 256, 16), (256, 128, 32), (128, 64, 64))
REFERENCE = "torchvision float32"
PASSES = {"forward": forward, "forward + backward": forward_and_backward}


@BENCHMARK_REGISTRY.register()
def deform_conv(options: BenchmarkOptions) -> list[Row]:
    """Milliseconds per call and ratios to torchvision's operator; offsets are N(0, 1) pixels.

    Our layer is given channels-last tensors and torchvision's contiguous ones, as each works best.
    On a CPU ours samples by loops that numba compiles, where it is installed; without it and in
    bfloat16 by operators of torch. For scale there are a plain convolution of the same size, and
    the product of samples that are there already with the kernel: what is left with free sampling.
    """
    rows = []
    batches = sorted({min(options.batches), max(options.batches)})
    for (cin, cout, side), batch, which in product(SHAPES, batches, PASSES):
        layer = random_layer(cin, cout, side, batch, options.torch_device)
        subject = {"layer": f"{cin} to {cout}, {side} x {side}", "batch": batch, "pass": which}
        rows += comparison_rows(subject, options.time(_calls(layer, which)), REFERENCE)
    return rows


def random_layer(
    in_channels: int, out_channels: int, side: int, batch: int, device: torch.device
) -> tuple[Tensor, ...]:
    """x, offset, mask, weight and bias of a modulated 3 x 3 layer; the same for equal arguments."""
    torch.manual_seed(0)
    return (
        torch.randn(batch, in_channels, side, side, device=device),
        torch.randn(batch, 18, side, side, device=device),
        torch.rand(batch, 9, side, side, device=device),
        torch.randn(out_channels, in_channels, 3, 3, device=device) / in_channels,
        torch.randn(out_channels, device=device),
    )


def torchvision_form(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """The layer by torchvision's operator."""
    return deform_conv2d(x, offset, weight, bias, padding=1, mask=mask)


def _plain(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x, weight, bias, padding=1)


def _product(samples: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(samples, weight, bias)


def _calls(layer: tuple[Tensor, ...], which: str) -> dict[str, Call]:
    x, _, _, weight, bias = layer
    samples = torch.randn(len(x), weight[0].numel(), *x.shape[2:], device=x.device)
    product_layer = (samples, weight.flatten(1)[..., None, None], bias)
    alternatives = {
        "torchvision": (torchvision_form, layer, torch.contiguous_format),
        "ours": (modulated_deform_conv2d, layer, torch.channels_last),
        "plain": (_plain, layer, torch.channels_last),
        "product": (_product, product_layer, torch.channels_last),
    }
    calls = {}
    for (name, (function, tensors, memory)), dtype in product(
        alternatives.items(), (torch.float32, torch.bfloat16)
    ):
        copies = [tensor.to(dtype, copy=True) for tensor in tensors]
        copies = [c.contiguous(memory_format=memory) if c.dim() == 4 else c for c in copies]
        try:
            call = PASSES[which](function, copies)
            call()
        except (RuntimeError, NotImplementedError):  # torchvision has no bfloat16 on a CPU
            continue
        calls[f"{name} {str(dtype).removeprefix('torch.')}"] = call
    if x.device.type == "cpu" and deform_gather.compiled_sampler()[0] is not None:
        none = mock.Mock(return_value=(None, ""))
        without_numba = mock.patch.object(deform_gather, "compiled_sampler", none)
        calls["ours without numba float32"] = without_numba(calls["ours float32"])
    return calls
