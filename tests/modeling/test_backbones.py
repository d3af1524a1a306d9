import itertools

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from torch import nn

from centernet_d2.config import add_centernet_config
from centernet_d2.layers.deform_conv import DeformConv2d
from centernet_d2.layers.upsample import bilinear_kernel
from centernet_d2.modeling.backbone import EncoderDecoder, ResNetDeconv

BUILD = {
    "ResNetDeconv, deform": lambda **k: ResNetDeconv(depth=18, upsample="deform", **k),
    "ResNetDeconv, plain": lambda **k: ResNetDeconv(depth=18, upsample="plain", **k),
    "EncoderDecoder": lambda **k: EncoderDecoder(channels=[32, 32, 64], blocks=[1, 2, 1], **k),
}


def config(backbone, *overrides):
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.MODEL.BACKBONE.NAME = f"build_{backbone}_backbone"
    cfg.merge_from_list(list(overrides))
    return cfg


@pytest.mark.parametrize("name", BUILD)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_declared_shape_is_the_real_shape(name, layout):
    backbone = BUILD[name]().eval()
    height, width = 2 * backbone.size_divisibility, 3 * backbone.size_divisibility
    images = torch.randn(2, 3, height, width).contiguous(memory_format=layout)
    outputs = backbone.to(memory_format=layout)(images)
    declared = backbone.output_shape()
    assert outputs.keys() == declared.keys()
    for key, spec in declared.items():
        expected = (2, spec.channels, height // spec.stride, width // spec.stride)
        assert outputs[key].shape == expected
        if layout is torch.channels_last:
            assert outputs[key].is_contiguous(memory_format=layout)


@pytest.mark.parametrize("name", BUILD)
def test_every_parameter_gets_a_gradient(name):
    torch.manual_seed(0)
    backbone = BUILD[name]().train()
    for module in backbone.modules():
        if isinstance(module, DeformConv2d):  # at its zero start the mask is the same everywhere
            nn.init.normal_(module.conv_offset_mask.weight, std=0.01)
    (features,) = backbone(torch.randn(2, 3, 64, 96)).values()
    (features * torch.randn_like(features)).sum().backward()
    without = [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


@pytest.mark.parametrize("name", BUILD)
@pytest.mark.parametrize("norm", ["BN", "SyncBN", "GN", "FrozenBN"])
@torch.no_grad()
def test_norm_choices(name, norm):
    backbone = BUILD[name](norm=norm).eval()
    (features,) = backbone(torch.randn(1, 3, 32, 64)).values()
    assert features.isfinite().all()
    has_batch_norm = any(type(m) is nn.BatchNorm2d for m in backbone.modules())
    assert has_batch_norm == (norm == "BN")


@pytest.mark.parametrize("name", BUILD)
@torch.no_grad()
def test_batch_equals_single_images(name):
    backbone = BUILD[name]().double().eval()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    (together,) = backbone(images).values()
    alone = torch.cat([next(iter(backbone(image[None]).values())) for image in images])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("name", BUILD)
def test_bfloat16_on_cpu_under_autocast(name):
    backbone = BUILD[name]().to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (features,) = backbone(images).values()
    features.float().square().sum().backward()
    assert features.dtype == torch.bfloat16
    assert all(p.grad.isfinite().all() for p in backbone.parameters())


# ---- ResNet with up-sampling ----


@pytest.mark.parametrize(
    ("depth", "upsample"),
    list(itertools.product((18, 34, 50, 101, 152), ("deform", "plain"))),
)
def test_any_depth_builds(depth, upsample):
    with torch.device("meta"):
        backbone = ResNetDeconv(depth=depth, upsample=upsample)
    blocks = [len(getattr(backbone, f"layer{i}")) for i in (1, 2, 3, 4)]
    assert (
        blocks
        == {
            18: [2, 2, 2, 2],
            34: [3, 4, 6, 3],
            50: [3, 4, 6, 3],
            101: [3, 4, 23, 3],
            152: [3, 8, 36, 3],
        }[depth]
    )
    if depth >= 50:  # the stride of a bottleneck sits on its 3x3 convolution
        assert backbone.layer2[0].conv2.stride == (2, 2)
        assert backbone.layer2[0].conv1.stride == (1, 1)
    assert not any(name.startswith("fc") for name, _ in backbone.named_parameters())
    first = backbone.deconv_layers[0].weight.shape
    wide = 512 if depth < 50 else 2048
    assert first == ((256, wide, 3, 3) if upsample == "deform" else (wide, 256, 4, 4))


def up_convolutions(backbone):
    return [m for m in backbone.deconv_layers if isinstance(m, nn.ConvTranspose2d)]


def test_published_start_of_the_deformable_form():
    torch.manual_seed(0)
    backbone = ResNetDeconv(upsample="deform")
    layers = up_convolutions(backbone)
    assert [backbone.deconv_layers[i] for i in (3, 9, 15)] == layers
    assert [m.out_channels for m in layers] == [256, 128, 64]
    for layer in layers:
        kernel = bilinear_kernel(4).float()
        assert torch.equal(layer.weight[:, 0], kernel.expand(layer.in_channels, 4, 4))
        bound = (1 / (16 * layer.out_channels)) ** 0.5  # torch's start, which the rest keeps
        assert 0.9 * bound < layer.weight[:, 1:].abs().max() <= bound


def test_published_start_of_the_plain_form():
    torch.manual_seed(0)
    for layer in up_convolutions(ResNetDeconv(upsample="plain")):
        assert layer.out_channels == 256
        assert 0.9e-3 < layer.weight.std() < 1.1e-3


def test_named_starts():
    torch.manual_seed(0)
    bilinear = up_convolutions(ResNetDeconv(upsample="deform", upsample_init="bilinear"))
    for layer in bilinear:
        diagonal = layer.weight[range(layer.in_channels), range(layer.in_channels)]
        assert torch.equal(diagonal, bilinear_kernel(4).float().expand_as(diagonal))
        assert layer.weight.sum() == diagonal.sum()
    # In the plain form the first layer changes the width, so it cannot be bilinear.
    plain = up_convolutions(ResNetDeconv(upsample="plain", upsample_init="bilinear"))
    assert plain[0].weight.abs().max() < 0.01
    assert plain[1].weight.max() == 0.5625
    normal = up_convolutions(ResNetDeconv(upsample="deform", upsample_init="normal"))
    assert all(layer.weight.abs().max() < 0.01 for layer in normal)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"depth": 20}, "depth 20 is none of"),
        ({"upsample": "dcn"}, "upsample 'dcn' is none of"),
        ({"upsample_init": "zero"}, "upsample_init 'zero' is none of"),
        ({"norm": "BatchNorm"}, "unknown norm 'BatchNorm'"),
    ],
)
def test_resnet_deconv_errors(argument, message):
    with pytest.raises(ValueError, match=message):
        ResNetDeconv(**argument)


def test_resnet_deconv_from_config():
    cfg = config("resnet_deconv", "MODEL.RESNET_DECONV.DEPTH", 34)
    cfg.MODEL.RESNET_DECONV.UPSAMPLE = "plain"
    cfg.MODEL.RESNET_DECONV.NORM = "GN"
    backbone = build_backbone(cfg)
    assert isinstance(backbone, ResNetDeconv)
    assert len(backbone.layer3) == 6
    assert backbone.output_shape() == {"deconv": ShapeSpec(channels=256, stride=4)}
    assert isinstance(backbone.bn1, nn.GroupNorm)


def test_resnet_deconv_refuses_other_images():
    cfg = config("resnet_deconv", "MODEL.PIXEL_MEAN", [0.0], "MODEL.PIXEL_STD", [1.0])
    with pytest.raises(ValueError, match=r"MODEL\.PIXEL_MEAN has 1 values"):
        build_backbone(cfg)


def test_config_and_plain_python_start_alike():
    torch.manual_seed(3)
    from_config = build_backbone(config("resnet_deconv")).state_dict()
    torch.manual_seed(3)
    from_python = ResNetDeconv(depth=18, upsample="deform", norm="BN").state_dict()
    assert from_config.keys() == from_python.keys()
    assert all(torch.equal(from_config[key], from_python[key]) for key in from_config)


# ---- small encoder-decoder ----


def test_encoder_decoder_from_config():
    cfg = config("encoder_decoder", "MODEL.PIXEL_MEAN", [0.0], "MODEL.PIXEL_STD", [1.0])
    cfg.MODEL.ENCODER_DECODER.CHANNELS = [8, 16]
    cfg.MODEL.ENCODER_DECODER.BLOCKS = [2, 1]
    cfg.MODEL.ENCODER_DECODER.OUT_CHANNELS = 24
    backbone = build_backbone(cfg)
    assert isinstance(backbone, EncoderDecoder)
    assert backbone.size_divisibility == 8
    assert backbone(torch.randn(2, 1, 16, 24))["decoder"].shape == (2, 24, 4, 6)
    assert [len(level) for level in backbone.encoder] == [2, 1]


def test_encoder_decoder_sees_far():
    # The coarsest level must reach the output: the cell in the middle sees the whole image.
    torch.manual_seed(0)
    backbone = EncoderDecoder().double().eval()
    images = torch.randn(1, 3, 128, 128, dtype=torch.float64, requires_grad=True)
    backbone(images)["decoder"][0, :, 16, 16].sum().backward()
    rows = images.grad.abs().sum(dim=(0, 1, 3)).nonzero()
    assert rows.max() - rows.min() > 100


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_interpolations(interpolation):
    torch.manual_seed(0)
    backbone = EncoderDecoder(interpolation=interpolation).eval()
    assert backbone(torch.randn(1, 3, 32, 64))["decoder"].shape == (1, 64, 8, 16)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"channels": [8, 16], "blocks": [1]}, r"got \[8, 16\] and \[1\]"),
        ({"channels": [], "blocks": []}, "one entry per level"),
        ({"channels": [8], "blocks": [0]}, "at least 1"),
        ({"interpolation": "cubic"}, "interpolation 'cubic' is none of"),
    ],
)
def test_encoder_decoder_errors(argument, message):
    with pytest.raises(ValueError, match=message):
        EncoderDecoder(**argument)
