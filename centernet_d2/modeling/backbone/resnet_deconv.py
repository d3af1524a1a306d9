"""ResNet whose last map is up-sampled three times to stride 4.

Three forms: "plain" transposed convolutions ("Simple Baselines for Human Pose Estimation", 256
channels); "deform", a deformable convolution before each of them (Objects as Points, section 5 and
figure 6; 256, 128, 64 channels); and "conv", an ordinary 3x3 convolution in its place, as
mmdetection trains it for exports without deformable convolution. Parameter names are those of the
published checkpoints.
"""

from functools import partial

import torchvision
from detectron2.config import configurable
from torch import Tensor, nn

from centernet_d2.checked_values import check_choice
from centernet_d2.layers.blocks import make_norm
from centernet_d2.layers.deform_conv import DeformConv2d
from centernet_d2.layers.upsample import fill_bilinear_, upsample_by_two
from centernet_d2.modeling.backbone.base import OneMapBackbone
from centernet_d2.modeling.registration import register_backbone

DEPTHS = (18, 34, 50, 101, 152)
WIDTHS = {"deform": (256, 128, 64), "conv": (256, 128, 64), "plain": (256, 256, 256)}
UPSAMPLE_INITS = ("first_channel_bilinear", "bilinear", "normal")


@register_backbone("build_centernet_resnet_deconv_backbone")
class ResNetDeconv(OneMapBackbone):
    """ResNet trunk plus three up-sampling groups.

    The trunk is torchvision's: a bottleneck's stride sits on its 3x3 convolution.
    (N, 3, H, W), H and W multiples of 32 -> {"deconv": (N, 64 or 256, H / 4, W / 4)}.
    """

    output = "deconv"
    block = "RESNET_DECONV"

    @configurable
    def __init__(
        self,
        *,
        depth: int = 18,
        upsample: str = "deform",  # published resdcn; "plain": published res; or "conv"
        norm: str = "BN",  # detectron2's name of the normalisation
        upsample_init: str = "",  # of the transposed convolutions; "": the one of `upsample`
    ) -> None:
        super().__init__()
        published_init = "normal" if upsample == "plain" else "first_channel_bilinear"
        upsample_init = upsample_init or published_init
        check_choice("depth", depth, DEPTHS)
        check_choice("upsample", upsample, WIDTHS)
        check_choice("upsample_init", upsample_init, UPSAMPLE_INITS)
        trunk = getattr(torchvision.models, f"resnet{depth}")(
            weights=None, norm_layer=partial(make_norm, norm)
        )
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            setattr(self, name, getattr(trunk, name))
        self.deconv_layers = _upsampling(
            trunk.fc.in_features, WIDTHS[upsample], upsample=upsample, norm=norm
        )
        for module in self.deconv_layers.modules():
            if isinstance(module, nn.ConvTranspose2d):
                _start_upsampling(module, upsample_init)
        self.out_channels = WIDTHS[upsample][-1]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        return {"deconv": self.deconv_layers(features)}

    def freezable_stages(self) -> list[tuple[str, ...]]:
        return [("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)]


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
