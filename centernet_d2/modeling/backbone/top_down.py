"""The way from maps of several strides back to the finest of them."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from centernet_d2.checked_values import check_choice
from centernet_d2.layers.blocks import ConvNormRelu

INTERPOLATIONS = ("nearest", "bilinear")


class TopDown(nn.Module):
    """A feature pyramid with one output.

    From the coarsest map to the finest: double, add the next map through a 1x1 convolution, then a
    3x3 convolution. [(N, channels[i], H / 2**i, W / 2**i)] -> (N, out_channels, H, W).
    `interpolation` of the doubling is "nearest" or "bilinear".
    """

    def __init__(
        self,
        channels: Sequence[int],
        out_channels: int,
        *,
        norm: str = "BN",
        interpolation: str = "nearest",
    ) -> None:
        super().__init__()
        check_choice("interpolation", interpolation, INTERPOLATIONS)
        self.interpolation = interpolation
        self.lateral = nn.ModuleList(nn.Conv2d(width, out_channels, 1) for width in channels)
        self.merge = nn.ModuleList(
            ConvNormRelu(out_channels, out_channels, norm=norm) for _ in channels[:-1]
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        decoded = self.lateral[-1](maps[-1])
        for level in range(len(maps) - 2, -1, -1):
            doubled = F.interpolate(decoded, scale_factor=2, mode=self.interpolation)
            decoded = self.merge[level](doubled + self.lateral[level](maps[level]))
        return decoded
