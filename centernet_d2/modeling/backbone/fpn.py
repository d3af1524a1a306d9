"""detectron2's ResNet with feature pyramid, for a detector that reads one map of stride 4.

Any detectron2 backbone serves as it is (MODEL.HEATMAP.IN_FEATURES names its map); the pyramid has a
builder here because the last convolutions of its other maps would be parameters without gradient,
which distributed training does not take.
"""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.modeling.backbone.fpn import FPN, build_resnet_fpn_backbone
from torch import Tensor, nn

from centernet_d2.modeling.registration import register_backbone


class FinestOfPyramid(Backbone):
    """The finest map of detectron2's pyramid: (N, 3, H, W) -> {"p2": (N, D, H / 4, W / 4)}."""

    def __init__(self, pyramid: FPN) -> None:
        super().__init__()
        self.pyramid = pyramid  # changed in place
        shapes = pyramid.output_shape()
        self.finest = min(shapes, key=lambda name: shapes[name].stride)
        level = self.finest.removeprefix("p")
        for name, _ in list(pyramid.named_children()):
            if name.startswith("fpn_output") and name != f"fpn_output{level}":
                setattr(pyramid, name, nn.Identity())
        # The pyramid evaluates its convolutions through lists, the coarsest first.
        kept = getattr(pyramid, f"fpn_output{level}")
        pyramid.output_convs = [
            layer if layer is kept else nn.Identity() for layer in pyramid.output_convs
        ]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {self.finest: self.pyramid(images)[self.finest]}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {self.finest: self.pyramid.output_shape()[self.finest]}

    @property
    def size_divisibility(self) -> int:
        return self.pyramid.size_divisibility


@register_backbone("build_centernet_resnet_fpn_stride4_backbone")
def build_finest_of_pyramid(cfg: CfgNode, input_shape: ShapeSpec) -> FinestOfPyramid:
    """Build it from detectron2's MODEL.RESNETS and MODEL.FPN."""
    return FinestOfPyramid(build_resnet_fpn_backbone(cfg, input_shape))
