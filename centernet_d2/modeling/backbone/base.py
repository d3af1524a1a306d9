"""What backbones share: one map of stride 4, the way back to it, and their way from a config."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor, nn

from ...checked_values import check_choice
from ...layers.blocks import ConvNormRelu

INTERPOLATIONS = ("nearest", "bilinear")


class ConfiguredBackbone(Backbone):
    """Base of backbones whose arguments are the keys of a block of MODEL, and `in_channels`.

    One that does not take the latter reads images of 3 channels, as published weights do.
    """

    block: str  # its name

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments from the block."""
        arguments = {key.lower(): value for key, value in cfg.MODEL[cls.block].items()}
        if "in_channels" in inspect.signature(cls).parameters:
            return {"in_channels": input_shape.channels or 3, **arguments}
        if input_shape.channels not in (None, 3):
            raise ValueError(
                f"{cls.__name__} reads 3-channel images, but MODEL.PIXEL_MEAN has "
                f"{input_shape.channels} values; give it 3"
            )
        return arguments


class OneMapBackbone(ConfiguredBackbone):
    """Base of backbones with one output of stride 4."""

    output: str  # its name
    out_channels: int  # its width
    coarsest_stride: int = 32  # height and width of the input must be multiples of it

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {self.output: ShapeSpec(channels=self.out_channels, stride=4)}

    @property
    def size_divisibility(self) -> int:
        return self.coarsest_stride


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
