"""Bilinear up-sampling as the starting point of a learned transposed convolution."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checked_values import check_at_least, check_choice
from .tracing import makes_a_graph

BILINEAR_CHANNELS = ("all", "first")


def bilinear_kernel(size: int) -> Tensor:
    """The (size, size) float64 kernel with which a transposed convolution interpolates bilinearly.

    It is for stride ceil(size / 2), the outer product of a 1-D profile with itself: of size 4, for
    stride 2, (.25, .75, .75, .25).
    """
    check_at_least("size", size, 1)
    stride = (size + 1) // 2
    profile = 1 - (torch.arange(size, dtype=torch.float64) - (size - 1) / 2).abs() / stride
    return torch.outer(profile, profile)


@torch.no_grad()
def fill_bilinear_(weight: Tensor, channels: str = "all") -> Tensor:
    """Fill a transposed convolution's kernel with bilinear interpolation, in place; return it.

    Args:
        weight: (in_channels, out_channels / groups, k, k).
        channels: "all": every output channel interpolates its own input channel (the paper's words;
            a dense kernel is zero off its diagonal). "first": only output channel 0 is written,
            from every input channel, and the other output channels keep what they hold (published
            behaviour of the deformable ResNet, whose filling routine was written for depthwise
            kernels). The two agree for a depthwise kernel (C, 1, k, k).

    Raises:
        ValueError: a kernel that is not square, or "all" for a dense kernel with unequal numbers of
            input and output channels.
    """
    check_choice("channels", channels, BILINEAR_CHANNELS)
    if weight.dim() != 4 or weight.shape[2] != weight.shape[3]:
        raise ValueError(
            f"fill_bilinear_: needs a (in, out, k, k) kernel, got {tuple(weight.shape)}"
        )
    kernel = bilinear_kernel(weight.shape[-1]).to(weight)
    if channels == "first" or weight.shape[1] == 1:
        weight[:, 0] = kernel
        return weight
    if weight.shape[0] != weight.shape[1]:
        raise ValueError(
            'fill_bilinear_: "all" needs as many output as input channels, '
            f'got {tuple(weight.shape)}; use "first" or equal widths'
        )
    weight.zero_()
    diagonal = torch.arange(weight.shape[0], device=weight.device)
    weight[diagonal, diagonal] = kernel
    return weight


def upsample_by_two(in_channels: int, out_channels: int, *, groups: int = 1) -> nn.ConvTranspose2d:
    """A transposed convolution that doubles height and width: kernel 4, stride 2, padding 1.

    Maps (N, in_channels, H, W) to (N, out_channels, 2H, 2W), without bias. Source: published ResNet
    and DLA up-sampling.
    """
    return nn.ConvTranspose2d(
        in_channels, out_channels, kernel_size=4, stride=2, padding=1, groups=groups, bias=False
    )


class BilinearUpsampling(nn.ConvTranspose2d):
    """A learned transposed convolution of each channel by itself that starts as interpolation.

    Maps (N, channels, H, W) to (N, channels, factor * H, factor * W): kernel 2 * factor, stride
    `factor`, padding factor // 2, without bias. Source: published DLA up-sampling.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__(
            channels, channels, 2 * factor, factor, factor // 2, groups=channels, bias=False
        )
        fill_bilinear_(self.weight)

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        if makes_a_graph() or output_size is not None or features.device.type != "cpu":
            return super().forward(features, output_size)
        # A CPU computes half types of this layer by plain loops, 30 times slower than float32.
        dtype = torch.promote_types(features.dtype, torch.float32)
        with torch.autocast("cpu", enabled=False):
            doubled = F.conv_transpose2d(
                features.to(dtype),
                self.weight.to(dtype),
                None if self.bias is None else self.bias.to(dtype),
                self.stride,
                self.padding,  # type: ignore[arg-type]  # never a word in a transposed one
                groups=self.groups,
            )
        return doubled.to(features.dtype)
