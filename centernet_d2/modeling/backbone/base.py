"""What this package's backbones share: one output map of stride 4, and their way from a config."""

import inspect
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone


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
