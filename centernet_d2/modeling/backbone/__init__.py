"""Backbones: image batch -> dict of named feature maps. Importing this package registers them."""

from centernet_d2.modeling.backbone.dla import DLA
from centernet_d2.modeling.backbone.encoder_decoder import EncoderDecoder
from centernet_d2.modeling.backbone.fpn import FinestOfPyramid
from centernet_d2.modeling.backbone.hourglass import Hourglass
from centernet_d2.modeling.backbone.resnet_deconv import ResNetDeconv
from centernet_d2.modeling.backbone.timm import TimmBackbone

__all__ = ["DLA", "EncoderDecoder", "FinestOfPyramid", "Hourglass", "ResNetDeconv", "TimmBackbone"]
