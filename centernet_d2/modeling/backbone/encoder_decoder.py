"""A small encoder-decoder with skip connections, for small data and few CPU cores.

Encoder of residual blocks, top-down path with lateral connections (feature pyramid, one output at
stride 4).
"""

from collections.abc import Sequence

from detectron2.config import configurable
from torch import Tensor, nn

from centernet_d2.layers.blocks import ConvNormRelu, ResidualBlock
from centernet_d2.modeling.backbone.base import OneMapBackbone, TopDown
from centernet_d2.modeling.registration import register_backbone


@register_backbone("build_centernet_encoder_decoder_backbone")
class EncoderDecoder(OneMapBackbone):
    """Residual encoder, and a decoder that returns to stride 4.

    (N, in_channels, H, W), H and W multiples of `size_divisibility` -> {"decoder": (N,
    out_channels, H / 4, W / 4)}.

    Level i of the encoder has stride 4 * 2**i; the decoder is `TopDown`.
    """

    output = "decoder"
    block = "ENCODER_DECODER"

    @configurable
    def __init__(
        self,
        *,
        in_channels: int = 3,  # of the image
        channels: Sequence[int] = (32, 64, 96, 128),  # of each level, from stride 4 on
        blocks: Sequence[int] = (1, 1, 1, 1),  # residual blocks of each level
        out_channels: int = 64,  # of the decoder
        norm: str = "BN",  # detectron2's name of the normalisation
        interpolation: str = "nearest",  # or "bilinear" doubling in the decoder
    ) -> None:
        super().__init__()
        if len(channels) != len(blocks) or not channels or min(blocks) < 1:
            raise ValueError(
                "MODEL.ENCODER_DECODER.CHANNELS and MODEL.ENCODER_DECODER.BLOCKS need one entry "
                f"per level, each block count at least 1; got {list(channels)} and {list(blocks)}"
            )
        self.out_channels = out_channels
        half = max(channels[0] // 2, 1)
        self.stem = nn.Sequential(
            ConvNormRelu(in_channels, half, stride=2, norm=norm),
            ConvNormRelu(half, channels[0], stride=2, norm=norm),
        )
        self.encoder = nn.ModuleList()
        width = channels[0]
        for level, (next_width, count) in enumerate(zip(channels, blocks, strict=True)):
            first = ResidualBlock(width, next_width, stride=1 if level == 0 else 2, norm=norm)
            rest = [ResidualBlock(next_width, next_width, norm=norm) for _ in range(count - 1)]
            self.encoder.append(nn.Sequential(first, *rest))
            width = next_width
        self.coarsest_stride = 4 * 2 ** (len(channels) - 1)
        self.decoder = TopDown(channels, out_channels, norm=norm, interpolation=interpolation)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.stem(images)
        levels = []
        for encode in self.encoder:
            features = encode(features)
            levels.append(features)
        return {"decoder": self.decoder(levels)}

    def freezable_stages(self) -> list[tuple[str, ...]]:
        return [("stem",), *((f"encoder.{level}",) for level in range(len(self.encoder)))]
