"""DLA-34, deep layer aggregation, with one of two ways back to stride 4.

"deform" is the network that the points paper released (Objects as Points, section 5 and figure 6):
every node of the way up is a deformable convolution, and maps are added. "plain" is the up-sampling
of "Deep Layer Aggregation" (section 3.2): plain convolutions over concatenated maps. Layers without
influence on the output, which the published files contain, are left out.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from detectron2.config import configurable
from torch import Tensor, nn

from centernet_d2.checked_values import check_choice
from centernet_d2.layers.blocks import ConvNormRelu, ResidualBlock, make_norm
from centernet_d2.layers.deform_conv import DeformConv2d
from centernet_d2.layers.upsample import BilinearUpsampling
from centernet_d2.modeling.backbone.base import OneMapBackbone
from centernet_d2.modeling.registration import register_backbone

UPSAMPLES = ("deform", "plain")


class AggregationTree(nn.Module):
    """A tree of residual blocks whose root sees the outputs of all its descendants.

    (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride). A tree of depth 1 has two
    blocks and a root, a 1x1 convolution over their concatenated outputs and what ancestors hand
    down (summed width `passed_channels`); a deeper one is two trees of one depth less, of which the
    second's root serves both. With `keep_input` the root also sees the (pooled) input of the tree.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        passed_channels: int = 0,
        keep_input: bool = False,
        norm: str,
    ) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(stride) if keep_input and stride > 1 else nn.Identity()
        self.keep_input = keep_input
        passed_channels += in_channels if keep_input else 0
        if depth > 1:
            self.root = None
            tree = partial(AggregationTree, depth - 1, out_channels=out_channels, norm=norm)
            passed_channels += out_channels
            self.tree1: nn.Module = tree(in_channels=in_channels, stride=stride)
            self.tree2: nn.Module = tree(in_channels=out_channels, passed_channels=passed_channels)
        else:
            self.tree1 = ResidualBlock(
                in_channels, out_channels, stride=stride, norm=norm, pooled_skip=True
            )
            self.tree2 = ResidualBlock(out_channels, out_channels, norm=norm)
            self.root = ConvNormRelu(
                2 * out_channels + passed_channels, out_channels, kernel_size=1, norm=norm
            )

    def forward(self, features: Tensor, passed: Sequence[Tensor] = ()) -> Tensor:
        """See the class; `passed` are the maps that ancestors hand to the root."""
        if self.keep_input:
            passed = [*passed, self.pool(features)]
        first = self.tree1(features)
        if self.root is None:
            return self.tree2(first, [*passed, first])
        return self.root(torch.cat([self.tree2(first), first, *passed], dim=1))


class DlaTrunk(nn.Module):
    """The classification network without its classifier: image -> maps of strides 1, 2, 4 ... 32.

    Parameter names are the published ones, but for `project`, which is the first block's `skip`.
    """

    def __init__(self, channels: Sequence[int], depths: Sequence[int], *, norm: str) -> None:
        super().__init__()
        self.base_layer = ConvNormRelu(3, channels[0], kernel_size=7, norm=norm)
        self.level0 = _convolutions(depths[0], channels[0], channels[0], stride=1, norm=norm)
        self.level1 = _convolutions(depths[1], channels[0], channels[1], stride=2, norm=norm)
        for level in range(2, len(channels)):
            widths = channels[level - 1 : level + 1]
            tree = AggregationTree(
                depths[level], *widths, stride=2, keep_input=level > 2, norm=norm
            )
            setattr(self, f"level{level}", tree)
        self.levels = len(channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        features = self.base_layer(images)
        maps = []
        for level in range(self.levels):
            features = getattr(self, f"level{level}")(features)
            maps.append(features)
        return maps


class IterativeUp(nn.Module):
    """Bring maps of growing stride to the first one's, one after the other.

    Map i is projected to `out_channels`, up-sampled by `factors[i]` and merged with the result of
    map i - 1: "deform" adds the two, "plain" concatenates them. [(N, channels[i], H / factors[i], W
    / factors[i])] -> as many maps (N, out_channels, H, W) less one, every intermediate result. The
    modules of index 0 do nothing; they keep the published numbers of the others.
    """

    def __init__(
        self,
        channels: Sequence[int],
        factors: Sequence[int],
        out_channels: int,
        *,
        deform: bool,
        norm: str,
    ) -> None:
        super().__init__()
        self.deform = deform
        self.project, self.up, self.node = (nn.ModuleList([nn.Identity()]) for _ in range(3))
        for width, factor in zip(channels[1:], factors[1:], strict=True):
            if deform:
                self.project.append(_deform_node(width, out_channels, norm))
                self.node.append(_deform_node(out_channels, out_channels, norm))
            else:
                self.project.append(ConvNormRelu(width, out_channels, kernel_size=1, norm=norm))
                self.node.append(ConvNormRelu(2 * out_channels, out_channels, norm=norm))
            self.up.append(BilinearUpsampling(out_channels, factor))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        merged, results = maps[0], []
        for features, project, up, node in zip(
            maps[1:], self.project[1:], self.up[1:], self.node[1:], strict=True
        ):
            features = up(project(features))
            merged = node(features + merged if self.deform else torch.cat([merged, features], 1))
            results.append(merged)
        return results


@register_backbone("build_centernet_dla_backbone")
class DLA(OneMapBackbone):
    """DLA-34 and its way up.

    (N, 3, H, W), H and W multiples of 32 -> {"dla_up": (N, 64, H / 4, W / 4)}.
    """

    output = "dla_up"
    block = "DLA"

    @configurable
    def __init__(
        self,
        *,
        upsample: str = "deform",  # published dla_34; or "plain", published dlav0_34
        norm: str = "BN",  # detectron2's name of the normalisation
        channels: Sequence[int] = (16, 32, 64, 128, 256, 512),
        depths: Sequence[int] = (1, 1, 1, 2, 2, 1),
    ) -> None:
        super().__init__()
        check_choice("upsample", upsample, UPSAMPLES)
        if len(channels) != 6 or len(depths) != 6 or min(depths) < 1:
            raise ValueError(
                "DLA: channels and depths need one entry for each of the strides 1, 2, 4, 8, 16, "
                f"32, each depth at least 1; got {list(channels)} and {list(depths)}"
            )
        deform = upsample == "deform"
        self.base = DlaTrunk(channels, depths, norm=norm)
        self.dla_up = nn.ModuleList()
        widths = list(channels[2:])
        for level in range(len(widths) - 2, -1, -1):  # to stride 16, then 8, then 4
            factors = [1] + [2] * (len(widths) - 1 - level)
            self.dla_up.append(
                IterativeUp(widths[level:], factors, widths[level], deform=deform, norm=norm)
            )
            widths[level + 1 :] = [widths[level]] * (len(widths) - 1 - level)
        self.out_channels = channels[2]
        self.ida_up = None
        if deform:  # the results at strides 4, 8 and 16 once more
            self.ida_up = IterativeUp(
                channels[2:5], (1, 2, 4), self.out_channels, deform=True, norm=norm
            )
        else:
            _start_convolutions(self.dla_up)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.base(images)[2:]
        finest: list[Tensor] = []  # the result of each stage: strides 4, 8, 16
        for stage in self.dla_up:
            start = len(maps) - len(stage.up)
            maps[start + 1 :] = stage(maps[start:])
            finest.insert(0, maps[-1])
        if self.ida_up is None:
            return {"dla_up": finest[0]}
        return {"dla_up": self.ida_up(finest)[-1]}

    def freezable_stages(self) -> list[tuple[str, ...]]:
        """Of the trunk, see `freeze_stages`: down to stride 2, then one for each stride."""
        stem = ("base.base_layer", "base.level0", "base.level1")
        return [stem, *((f"base.level{level}",) for level in range(2, self.base.levels))]


def _convolutions(
    count: int, in_channels: int, out_channels: int, *, stride: int, norm: str
) -> nn.Sequential:
    """One flat sequence, as published, so that the indices are the published key names."""
    layers: list[nn.Module] = []
    for _ in range(count):
        layers += ConvNormRelu(in_channels, out_channels, stride=stride, norm=norm)
        in_channels, stride = out_channels, 1
    return nn.Sequential(*layers)


def _deform_node(in_channels: int, out_channels: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        DeformConv2d(in_channels, out_channels), make_norm(norm, out_channels), nn.ReLU(True)
    )


def _start_convolutions(network: nn.Module) -> None:
    """The start of the plain way up: N(0, 2 / (kernel area x output channels))."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size)
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
