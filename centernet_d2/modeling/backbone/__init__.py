"""Backbones: image batch -> dict of named feature maps. Importing this package registers them."""

from centernet_d2.modeling.backbone.encoder_decoder import EncoderDecoder
from centernet_d2.modeling.backbone.resnet_deconv import ResNetDeconv

__all__ = ["EncoderDecoder", "ResNetDeconv"]
