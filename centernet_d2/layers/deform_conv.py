"""Modulated deformable convolution (v2, one deformable group) with its own offset branch.

torchvision's operator is the reference, and computes in exported graphs and on CUDA, where the
environment variable CENTERNET_D2_TRITON_DEFORM=1 puts Triton kernels in its place. On a CPU
the same numbers come from a gather of bilinear samples over channels-last rows and one matrix
product, many times faster and also in bfloat16: `deform_gather`.
"""

import math
import os
from contextlib import nullcontext
from types import ModuleType

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from .cuda_kernels import cuda_kernels
from .deform_gather import gather_and_multiply
from .tracing import makes_a_graph

TRITON = os.environ.get("CENTERNET_D2_TRITON_DEFORM", "").lower() in ("1", "true", "yes", "on")
"""Whether CUDA takes the kernels of `deform_triton`; not before they have run on a GPU."""


def modulated_deform_conv2d(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    padding: int = 1,
    dilation: int = 1,
    stride: int = 1,
) -> Tensor:
    """Convolve `x` at displaced, weighted sampling positions (Deformable ConvNets v2, equation 1).

    Tap (i, j) of output cell (r, c) samples `x` bilinearly, zero outside, at row `r * stride -
    padding + i * dilation + dy` and column `c * stride - padding + j * dilation + dx`, in pixels of
    `x`, and multiplies it with its mask value.

    Args:
        x: (N, C, H, W). Channels-last memory saves a copy on a CPU.
        offset: (N, 2T, H', W'), T = kernel height x width taps in row-major order, channel 2t dy
            and 2t + 1 dx.
        mask: (N, T, H', W'), the factor of each sample, already through its sigmoid.
        weight: (C', C, kernel height, kernel width).
        bias: (C',) or None.
        padding: zeros around `x`, in pixels.
        dilation: distance of neighbouring taps, in pixels.
        stride: distance of neighbouring output cells, in pixels.

    Returns:
        (N, C', H', W'), in the dtype of `x`, or autocast's dtype where autocast is on. Positions
        and bilinear weights are computed in at least float32.
    """
    geometry = {"padding": padding, "dilation": dilation, "stride": stride}
    exported = makes_a_graph()
    traced = exported or torch.compiler.is_compiling()
    if not traced:  # a graph would keep the checks as limits on its input sizes
        _check_shapes(x, offset, mask, weight, bias, **geometry)
    kernels = None if traced else _kernels(x)
    casts = x.device.type == "cpu" or kernels is not None
    x, weight, bias, output_dtype = _cast_for_autocast(x, weight, bias, casts=casts)
    # An empty batch has nothing to gather, so the CPU path serves it on every device.
    use_reference = exported or (x.device.type != "cpu" and x.shape[0] > 0)
    compute = _reference if use_reference else gather_and_multiply
    compute = kernels.sample_and_multiply if kernels else compute
    return compute(x, offset, mask, weight, bias, **geometry).to(output_dtype)


def _kernels(x: Tensor) -> ModuleType | None:
    """The Triton kernels where they are to compute; their backward pass is not deterministic."""
    wanted = TRITON and x.is_cuda and x.shape[0] > 0
    if not wanted or torch.are_deterministic_algorithms_enabled():
        return None
    return cuda_kernels("deform_triton", "deformable convolution", "torchvision's operator")


class DeformConv2d(nn.Module):
    """Modulated deformable convolution, its offsets and mask from a convolution of its input.

    (N, in_channels, H, W) -> (N, out_channels, H', W') as a plain convolution of these arguments.
    Parameters `weight`, `bias` and `conv_offset_mask.{weight,bias}` are named and laid out as in
    the published checkpoints. The offset branch starts at zero, so the layer starts as half a plain
    convolution (mask = sigmoid(0) = 0.5). Source: published behaviour of the points networks.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.conv_offset_mask = nn.Conv2d(
            in_channels, 3 * kernel_size**2, kernel_size, stride, padding, dilation
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight U(-b, b) with b = 1 / sqrt(taps * in_channels), everything else zero."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        for parameter in (self.bias, *self.conv_offset_mask.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        taps = self.weight.shape[-1] * self.weight.shape[-2]
        offset, mask = self.conv_offset_mask(x).split([2 * taps, taps], dim=1)
        geometry = {"padding": self.padding, "dilation": self.dilation, "stride": self.stride}
        return modulated_deform_conv2d(
            x, offset, mask.sigmoid(), self.weight, self.bias, **geometry
        )

    def extra_repr(self) -> str:
        out_channels, in_channels, kernel_size, _ = self.weight.shape
        return (
            f"{in_channels}, {out_channels}, kernel_size={kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}"
        )


def _check_shapes(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, **geometry: int
) -> None:
    padding, dilation, stride = (geometry[name] for name in ("padding", "dilation", "stride"))
    if x.dim() != 4 or weight.dim() != 4 or x.shape[1] != weight.shape[1]:
        raise ValueError(
            "deformable convolution: x (N, C, H, W) and weight (C', C, kh, kw) must agree in C, "
            f"got {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    out_size = [
        (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel in zip(x.shape[2:], weight.shape[2:], strict=True)
    ]
    if min(out_size) < 1:
        raise ValueError(
            f"deformable convolution: a map of {tuple(x.shape[2:])} is smaller than the kernel's "
            f"reach (kernel {tuple(weight.shape[2:])}, dilation {dilation}, padding {padding}); "
            "enlarge the input"
        )
    taps = weight.shape[2] * weight.shape[3]
    for name, tensor, shape in (
        ("offset", offset, (x.shape[0], 2 * taps, *out_size)),
        ("mask", mask, (x.shape[0], taps, *out_size)),
        ("bias", bias, (weight.shape[0],)),
    ):
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(
                f"deformable convolution: {name} must be {shape} for x {tuple(x.shape)} and weight "
                f"{tuple(weight.shape)}, got {tuple(tensor.shape)}"
            )


def _cast_for_autocast(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, casts: bool
) -> tuple[Tensor, Tensor, Tensor | None, torch.dtype]:
    """What autocast does for the convolutions that it knows; float64 stays, as there.

    Not where the reference computes, in float32: casting first would lose digits.
    """
    device = x.device.type
    if x.dtype == torch.float64 or not _autocast_is_on(device):
        return x, weight, bias, x.dtype
    dtype = torch.get_autocast_dtype(device)
    if not casts:
        return x, weight, bias, dtype
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype), dtype


def _autocast_is_on(device: str) -> bool:
    # The first question, because devices without autocast (meta) make the second an error.
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _reference(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, **geometry: int
) -> Tensor:
    """The operator of torchvision, in float32 for half types.

    It lacks bfloat16, and rounds sampling positions to the type of its input.
    """
    dtype, device = torch.promote_types(x.dtype, torch.float32), x.device.type
    x, offset, mask, weight = (tensor.to(dtype) for tensor in (x, offset, mask, weight))
    bias = None if bias is None else bias.to(dtype)
    with torch.autocast(device, enabled=False) if _autocast_is_on(device) else nullcontext():
        return deform_conv2d(x, offset, weight, bias, mask=mask, **geometry)
