"""Stacked hourglass at stride 4, the trunk that CornerNet, triplet and points CenterNet share.

Sources: "CornerNet: Detecting Objects as Paired Keypoints", section 3.5, and the published networks
of all three papers, which agree in it layer by layer.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from centernet_d2.checked_values import check_at_least, check_value, odd
from centernet_d2.layers.blocks import ConvNormRelu, ResidualBlock, make_norm, start_norms
from centernet_d2.modeling.backbone.base import ConfiguredBackbone
from centernet_d2.modeling.registration import register_backbone


class HourglassModule(nn.Module):
    """One hourglass: halve the map, work on it, double it again, and add the untouched path.

    (N, channels[0], H, W), H and W multiples of 2**levels -> the same shape, where levels =
    len(channels) - 1; `channels` and `blocks` (of each path) begin at the outermost level, and the
    innermost is one path. No pooling: the first block of `low1` has stride 2. No layer follows the
    addition. Parameter names (up1, low1, low2, low3) are the published ones.
    """

    def __init__(self, channels: Sequence[int], blocks: Sequence[int], *, norm: str) -> None:
        super().__init__()
        here, below = channels[:2]
        more = range(blocks[0] - 1)
        self.up1 = nn.Sequential(*(ResidualBlock(here, here, norm=norm) for _ in range(blocks[0])))
        self.low1 = nn.Sequential(
            ResidualBlock(here, below, stride=2, norm=norm),
            *(ResidualBlock(below, below, norm=norm) for _ in more),
        )
        if len(channels) > 2:
            self.low2: nn.Module = HourglassModule(channels[1:], blocks[1:], norm=norm)
        else:
            self.low2 = nn.Sequential(
                *(ResidualBlock(below, below, norm=norm) for _ in range(blocks[1]))
            )
        self.low3 = nn.Sequential(
            *(ResidualBlock(below, below, norm=norm) for _ in more),
            ResidualBlock(below, here, norm=norm),
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.way_up(features)[0]

    def way_up(self, features: Tensor) -> list[Tensor]:
        """The maps of all levels on the way up, the outermost first."""
        below = self.below(features)
        doubled = F.interpolate(self.low3(below[0]), scale_factor=2, mode="nearest")
        return [self.up1(features) + doubled, *below]

    def below(self, features: Tensor) -> list[Tensor]:
        """Those of the levels inside; the innermost is one path."""
        halved, inner = self.low1(features), self.low2
        return inner.way_up(halved) if isinstance(inner, HourglassModule) else [inner(halved)]


@register_backbone("build_centernet_hourglass_backbone")
class Hourglass(ConfiguredBackbone):
    """A stem to stride 4, then hourglasses in a row, each with an output map of its own.

    (N, in_channels, H, W) -> {"stack1": (N, D, h, w), "stack2": ...} with D = out_channels and h =
    ceil(ceil(H / 2) / 2); h and w must be multiples of 2**levels. So H and W are multiples of
    `size_divisibility`, or up to 3 less (511 gives 128, as CornerNet uses it).

    Two stacks of the default widths are the published Hourglass-104, one is Hourglass-52. The later
    stacks read what went into the stack before and what came out of it; predictions are not fed
    back.

    With `pyramid` the outputs are all maps on the way up of each stack but that of stride 4, each
    through a convolution of its own: "stack1_p3" of stride 8, "stack1_p4" ... (CornerNet section
    4.4.4). The last stack's way to stride 4, which nothing reads then, is left out.
    """

    block = "HOURGLASS"

    @configurable
    def __init__(
        self,
        *,
        in_channels: int = 3,  # of the image
        stacks: int = 2,
        # Width and residual blocks at strides 4, 8, 16 ...; one more than an hourglass has levels.
        channels: Sequence[int] = (256, 256, 384, 384, 384, 512),
        blocks: Sequence[int] = (2, 2, 2, 2, 2, 4),
        stem_channels: int = 128,  # at stride 2
        stem_kernel: int = 7,  # of the first convolution
        out_channels: int = 256,  # of each stack
        norm: str = "BN",  # detectron2's name of the normalisation
        norm_init: str = "ones",  # or "uniform", see `start_norms`
        pyramid: bool = False,
        recompute: bool = False,  # blocks in the backward pass, instead of keeping their maps
    ) -> None:
        super().__init__()
        check_at_least("stacks", stacks, 1)
        check_value("stem_kernel", stem_kernel, odd)
        if len(channels) != len(blocks) or len(channels) < 2 or min(blocks) < 1:
            raise ValueError(
                "MODEL.HOURGLASS.CHANNELS and MODEL.HOURGLASS.BLOCKS need one entry per stride, "
                f"two at least, no block count under 1; got {list(channels)} and {list(blocks)}"
            )
        self.levels = len(channels) - 1
        self.out_channels = out_channels
        width = channels[0]
        self.stem = nn.Sequential(
            ConvNormRelu(in_channels, stem_channels, kernel_size=stem_kernel, stride=2, norm=norm),
            ResidualBlock(stem_channels, width, stride=2, norm=norm),
        )
        self.hourglasses = nn.ModuleList(
            HourglassModule(channels, blocks, norm=norm) for _ in range(stacks)
        )
        self.outputs = nn.ModuleList(
            ConvNormRelu(width, out_channels, norm=norm) for _ in range(stacks)
        )
        self.strides = {f"_p{k + 3}": 8 * 2**k for k in range(self.levels)} if pyramid else {"": 4}
        self.level_outputs: Sequence[Sequence[nn.Module]] = [()] * stacks
        if pyramid:
            self.level_outputs = nn.ModuleList(
                nn.ModuleList(ConvNormRelu(each, out_channels, norm=norm) for each in channels[1:])
                for _ in range(stacks)
            )
            last = self.hourglasses[-1]
            last.up1 = last.low3 = self.outputs[-1] = nn.Identity()
        between = range(stacks - 1)
        self.merge_input = nn.ModuleList(_conv1x1(width, width, norm) for _ in between)
        self.merge_output = nn.ModuleList(_conv1x1(out_channels, width, norm) for _ in between)
        self.merged = nn.ModuleList(ResidualBlock(width, width, norm=norm) for _ in between)
        for block in (part for part in self.modules() if isinstance(part, ResidualBlock)):
            block.recompute = recompute
        start_norms(self, norm_init)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.stem(images)
        self._check_size(images, features)
        outputs = {}
        for stack, hourglass in enumerate(self.hourglasses):
            levels = self.level_outputs[stack]
            whole = not levels or stack < len(self.merged)
            maps = hourglass.way_up(features) if whole else [features, *hourglass.below(features)]
            out = self.outputs[stack](maps[0])
            found = [layer(each) for layer, each in zip(levels, maps[1:], strict=False)] or [out]
            outputs |= {f"stack{stack + 1}{k}": m for k, m in zip(self.strides, found, strict=True)}
            if stack < len(self.merged):
                united = self.merge_input[stack](features) + self.merge_output[stack](out)
                features = self.merged[stack](torch.relu_(united))
        return outputs

    def freezable_stages(self) -> list[tuple[str, ...]]:
        """The stem, then each stack with what leads to the next one, see `freeze_stages`."""
        stacks = []
        for stack in range(len(self.outputs)):
            between = ("merge_input", "merge_output", "merged") * (stack < len(self.merged))
            levels = ("level_outputs",) * bool(self.level_outputs[stack])
            parts = ("hourglasses", "outputs", *levels, *between)
            stacks.append(tuple(f"{part}.{stack}" for part in parts))
        return [("stem",), *stacks]

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            f"stack{stack + 1}{level}": ShapeSpec(channels=self.out_channels, stride=stride)
            for stack in range(len(self.outputs))
            for level, stride in self.strides.items()
        }

    @property
    def size_divisibility(self) -> int:
        """Height and width of the input must be multiples of this, the innermost stride."""
        return 4 * 2**self.levels

    def _check_size(self, images: Tensor, features: Tensor) -> None:
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return  # a graph would keep the check as a limit on its input sizes
        if any(side % 2**self.levels for side in features.shape[2:]):
            height, width = images.shape[2:]
            raise ValueError(
                f"Hourglass: an input of {height} x {width} gives a stride-4 map of "
                f"{features.shape[2]} x {features.shape[3]}, whose sides are no multiples of "
                f"{2**self.levels}, so they cannot be halved {self.levels} times; pad the input to "
                f"multiples of {self.size_divisibility}"
            )


def _conv1x1(in_channels: int, out_channels: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, bias=not norm), make_norm(norm, out_channels)
    )
