"""A backbone of one's own.

Any detectron2 backbone with a map of stride 4 serves every detector.

    tools/train_net.py --import examples/backbone.py --config-file configs/Shapes/points_tiny.yaml \
        MODEL.BACKBONE.NAME build_plain_backbone MODEL.HEATMAP.IN_FEATURES "['plain']" \
        OUTPUT_DIR output/plain
"""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn


def add_config(cfg: CfgNode) -> None:
    """Keys of one's own, added before the config file is read."""
    cfg.MODEL.PLAIN = CfgNode({"WIDTH": 32})


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, batch norm, ReLU."""
    layer = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class PlainBackbone(Backbone):
    """Down to stride 8 and back to stride 4, with one skip connection."""

    size_divisibility = 8

    def __init__(self, width: int) -> None:
        super().__init__()
        self._out_features = ["plain"]
        self._out_feature_strides = {"plain": 4}
        self._out_feature_channels = {"plain": width}
        self.stem = nn.Sequential(
            convolution(3, width, stride=2), convolution(width, width, stride=2)
        )
        self.deep = nn.Sequential(
            convolution(width, 2 * width, stride=2), convolution(2 * width, width)
        )
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> `plain`, (N, width, H / 4, W / 4)."""
        fine = self.stem(image)
        return {"plain": fine + self.up(self.deep(fine))}


@BACKBONE_REGISTRY.register()
def build_plain_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> PlainBackbone:
    """The backbone of MODEL.BACKBONE.NAME "build_plain_backbone"."""
    return PlainBackbone(cfg.MODEL.PLAIN.WIDTH)
