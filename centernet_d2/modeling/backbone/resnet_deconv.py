"""ResNet whose last map is up-sampled three times to stride 4.

Three forms: "plain" transposed convolutions ("Simple Baselines for Human Pose Estimation", 256
channels); "deform", a deformable convolution before each of them (Objects as Points, section 5 and
figure 6; 256, 128, 64 channels); and "conv", an ordinary 3x3 convolution in its place, as
mmdetection trains it for exports without deformable convolution. Parameter names are those of the
published checkpoints.
"""

from __future__ import annotations

from functools import partial

import torchvision
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn

from centernet_d2.layers.blocks import make_norm
from centernet_d2.layers.deform_conv import DeformConv2d
from centernet_d2.layers.upsample import fill_bilinear_, upsample_by_two

DEPTHS = (18, 34, 50, 101, 152)
WIDTHS = {"deform": (256, 128, 64), "conv": (256, 128, 64), "plain": (256, 256, 256)}
PUBLISHED_INIT = {
    "deform": "first_channel_bilinear",
    "conv": "first_channel_bilinear",
    "plain": "normal",
}
UPSAMPLE_INITS = ("first_channel_bilinear", "bilinear", "normal")


class ResNetDeconv(Backbone):
    """ResNet trunk plus three up-sampling groups.

    The trunk is torchvision's: a bottleneck's stride sits on its 3x3 convolution.
    (N, 3, H, W), H and W multiples of 32 -> {"deconv": (N, 64 or 256, H / 4, W / 4)}.
    """

    @configurable
    def __init__(
        self,
        *,
        depth: int = 18,
        upsample: str = "deform",
        norm: str = "BN",
        upsample_init: str = "",
    ) -> None:
        """Build the network with random weights; pre-trained ones are loaded as a checkpoint.

        Args:
            depth: 18, 34, 50, 101 or 152.
            upsample: "deform" (published resdcn), "plain" (published res) or "conv" (mmdetection's
                variant without deformable convolution).
            norm: detectron2's name of the normalisation, e.g. "BN", "SyncBN", "GN", "FrozenBN".
            upsample_init: how the transposed convolutions start: "first_channel_bilinear",
                "bilinear", "normal" (N(0, 0.001)), or "" for the one published with `upsample`.

        Raises:
            ValueError: an argument is not one of these.
        """
        super().__init__()
        _check("depth", depth, DEPTHS)
        _check("upsample", upsample, tuple(WIDTHS))
        upsample_init = upsample_init or PUBLISHED_INIT[upsample]
        _check("upsample_init", upsample_init, UPSAMPLE_INITS)

        trunk = getattr(torchvision.models, f"resnet{depth}")(
            weights=None, norm_layer=partial(make_norm, norm)
        )
        self.conv1, self.bn1, self.relu, self.maxpool = (
            trunk.conv1,
            trunk.bn1,
            trunk.relu,
            trunk.maxpool,
        )
        self.layer1, self.layer2 = trunk.layer1, trunk.layer2
        self.layer3, self.layer4 = trunk.layer3, trunk.layer4
        self.deconv_layers = _upsampling(
            trunk.fc.in_features, WIDTHS[upsample], upsample=upsample, norm=norm
        )
        for module in self.deconv_layers.modules():
            if isinstance(module, nn.ConvTranspose2d):
                _start_upsampling(module, upsample_init)
        self.out_channels = WIDTHS[upsample][-1]

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        """Arguments from MODEL.RESNET_DECONV."""
        if input_shape.channels not in (None, 3):
            raise ValueError(
                "ResNetDeconv reads 3-channel images, but MODEL.PIXEL_MEAN has "
                f"{input_shape.channels} values; give it 3"
            )
        keys = cfg.MODEL.RESNET_DECONV
        return {
            "depth": keys.DEPTH,
            "upsample": keys.UPSAMPLE,
            "norm": keys.NORM,
            "upsample_init": keys.UPSAMPLE_INIT,
        }

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """See the class."""
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        return {"deconv": self.deconv_layers(features)}

    def freezable_stages(self) -> list[tuple[str, ...]]:
        """Of the trunk, see `freeze_stages`."""
        return [("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)]

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of the one output, "deconv"."""
        return {"deconv": ShapeSpec(channels=self.out_channels, stride=4)}

    @property
    def size_divisibility(self) -> int:
        """Height and width of the input must be multiples of this."""
        return 32


def _check(name: str, value: object, allowed: tuple) -> None:
    if value not in allowed:
        raise ValueError(f"ResNetDeconv: {name} {value!r} is none of {allowed}")


def _upsampling(
    in_channels: int, widths: tuple[int, ...], *, upsample: str, norm: str
) -> nn.Sequential:
    """One flat sequence, as published, so that the indices are the published key names."""
    layers: list[nn.Module] = []
    for width in widths:
        if upsample != "plain":
            convolution = (
                DeformConv2d(in_channels, width)
                if upsample == "deform"
                else nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
            )
            layers += [convolution, make_norm(norm, width), nn.ReLU(True)]
            in_channels = width
        layers += [upsample_by_two(in_channels, width), make_norm(norm, width), nn.ReLU(True)]
        in_channels = width
    return nn.Sequential(*layers)


def _start_upsampling(layer: nn.ConvTranspose2d, upsample_init: str) -> None:
    if upsample_init == "normal":
        nn.init.normal_(layer.weight, std=0.001)
    elif upsample_init == "first_channel_bilinear":
        fill_bilinear_(layer.weight, "first")  # the other channels keep torch's start, as published
    elif layer.in_channels == layer.out_channels:
        fill_bilinear_(layer.weight, "all")
    else:  # plain form, first layer: no output channel has an input channel to interpolate
        nn.init.normal_(layer.weight, std=0.001)


@BACKBONE_REGISTRY.register()
def build_resnet_deconv_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNetDeconv:
    """The backbone of MODEL.BACKBONE.NAME "build_resnet_deconv_backbone"."""
    return ResNetDeconv(cfg, input_shape)
