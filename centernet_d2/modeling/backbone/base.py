"""What this package's backbones share: one output map of stride 4, and their way from a config."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone


class OneMapBackbone(Backbone):
    """Base of backbones with one output of stride 4.

    Attributes:
        output: its name.
        out_channels: its width.
        coarsest_stride: height and width of the input must be multiples of it.
    """

    output: str
    out_channels: int
    coarsest_stride: int = 32

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of the output."""
        return {self.output: ShapeSpec(channels=self.out_channels, stride=4)}

    @property
    def size_divisibility(self) -> int:
        """Height and width of the input must be multiples of this."""
        return self.coarsest_stride


def arguments(keys: CfgNode) -> dict[str, Any]:
    """Return the values of a config block by the names of arguments: its keys in lower case."""
    return {key.lower(): value for key, value in keys.items()}


def check_three_channels(name: str, input_shape: ShapeSpec) -> None:
    """Raise ValueError for images of another number of channels than published weights read."""
    if input_shape.channels not in (None, 3):
        raise ValueError(
            f"{name} reads 3-channel images, but MODEL.PIXEL_MEAN has {input_shape.channels} "
            "values; give it 3"
        )
