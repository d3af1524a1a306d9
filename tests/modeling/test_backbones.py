import itertools
import sys

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from torch import nn

from centernet_d2.config import add_centernet_config
from centernet_d2.layers.deform_conv import DeformConv2d
from centernet_d2.layers.upsample import bilinear_kernel
from centernet_d2.modeling.backbone import (
    DLA,
    EncoderDecoder,
    FinestOfPyramid,
    Hourglass,
    ResNetDeconv,
    TimmBackbone,
)

SMALL_DLA = {"channels": [8, 8, 16, 24, 32, 48]}
SMALL_HOURGLASS = {
    "channels": [16, 16, 24],
    "blocks": [1, 1, 2],
    "stem_channels": 8,
    "stem_kernel": 3,
    "out_channels": 24,
}


def resnet_fpn(norm="BN"):
    cfg = config("resnet_fpn_stride4", "MODEL.RESNETS.DEPTH", 18, "MODEL.FPN.OUT_CHANNELS", 32)
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.RESNETS.NORM = cfg.MODEL.FPN.NORM = norm
    return build_backbone(cfg)


def timm_backbone(name="convnext_atto", **keywords):
    pytest.importorskip("timm")
    return TimmBackbone(name=name, **keywords)


BUILD = {
    "ResNetDeconv, deform": lambda **k: ResNetDeconv(depth=18, upsample="deform", **k),
    "ResNetDeconv, plain": lambda **k: ResNetDeconv(depth=18, upsample="plain", **k),
    "EncoderDecoder": lambda **k: EncoderDecoder(channels=[32, 32, 64], blocks=[1, 2, 1], **k),
    "DLA, deform": lambda **k: DLA(upsample="deform", **SMALL_DLA, **k),
    "DLA, plain": lambda **k: DLA(upsample="plain", **SMALL_DLA, **k),
    "Hourglass, one stack": lambda **k: Hourglass(stacks=1, **SMALL_HOURGLASS, **k),
    "Hourglass, three stacks": lambda **k: Hourglass(stacks=3, **SMALL_HOURGLASS, **k),
    "TimmBackbone": timm_backbone,
    "detectron2 FPN": resnet_fpn,
}


def config(backbone, *overrides):
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.MODEL.BACKBONE.NAME = f"build_centernet_{backbone}_backbone"
    cfg.merge_from_list(list(overrides))
    return cfg


def maps(outputs):
    """All maps of a backbone, one after the other along the channels."""
    return torch.cat(list(outputs.values()), dim=1)


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
        assert spec.stride == 4
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
    features = maps(backbone(torch.randn(2, 3, 64, 96)))
    (features * torch.randn_like(features)).sum().backward()
    without = [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


@pytest.mark.parametrize("name", BUILD)
@pytest.mark.parametrize("norm", ["BN", "SyncBN", "GN", "FrozenBN"])
@torch.no_grad()
def test_norm_choices(name, norm):
    backbone = BUILD[name](norm=norm).eval()
    assert maps(backbone(torch.randn(1, 3, 32, 64))).isfinite().all()
    has_batch_norm = any(type(m) is nn.BatchNorm2d for m in backbone.modules())
    assert has_batch_norm == (norm == "BN")


@pytest.mark.parametrize("name", BUILD)
@torch.no_grad()
def test_batch_equals_single_images(name):
    backbone = BUILD[name]().double().eval()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    together = maps(backbone(images))
    alone = torch.cat([maps(backbone(image[None])) for image in images])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("name", BUILD)
def test_bfloat16_on_cpu_under_autocast(name):
    backbone = BUILD[name]().to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = maps(backbone(images))
    features.float().square().sum().backward()
    assert features.dtype == torch.bfloat16
    assert all(p.grad.isfinite().all() for p in backbone.parameters())


@pytest.mark.parametrize("name", BUILD)
def test_builds_without_memory_for_its_weights(name):
    with torch.device("meta"):
        backbone = BUILD[name]()
    assert all(parameter.is_meta for parameter in backbone.parameters())


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


# ---- DLA ----


def test_dla_from_config():
    cfg = config("dla", "MODEL.DLA.UPSAMPLE", "plain", "MODEL.DLA.NORM", "GN")
    with torch.device("meta"):
        backbone = build_backbone(cfg)
    assert isinstance(backbone, DLA)
    assert backbone.ida_up is None
    assert backbone.output_shape() == {"dla_up": ShapeSpec(channels=64, stride=4)}
    assert isinstance(backbone.base.base_layer[1], nn.GroupNorm)


def test_dla_has_no_dead_parameters_and_the_published_deformable_layers():
    with torch.device("meta"):
        backbone = DLA()
    assert sum(isinstance(m, DeformConv2d) for m in backbone.modules()) == 16
    head = 80 * 257 + 2 * 2 * 257 + 3 * (64 * 9 + 1) * 256  # three branches
    assert sum(p.numel() for p in backbone.parameters()) == 19_634_164 - head
    names = [name for name, _ in backbone.named_parameters()]
    assert not [name for name in names if "fc" in name or name.startswith("base.level3.skip")]


@torch.no_grad()
def test_dla_levels_have_the_published_sizes():
    levels = DLA().eval().base(torch.randn(1, 3, 64, 96))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (16, 64, 96),
        (32, 32, 48),
        (64, 16, 24),
        (128, 8, 12),
        (256, 4, 6),
        (512, 2, 3),
    ]


@pytest.mark.parametrize("upsample", ["deform", "plain"])
def test_dla_starts_as_published(upsample):
    torch.manual_seed(0)
    backbone = DLA(upsample=upsample)
    layers = [m for m in backbone.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert len(layers) == (8 if upsample == "deform" else 6)
    for layer in layers:
        kernel = bilinear_kernel(layer.kernel_size[0]).float()
        assert torch.equal(layer.weight, kernel.expand_as(layer.weight))
        assert layer.weight.requires_grad
    if upsample == "plain":
        node = backbone.dla_up[0].node[1][0]
        assert 0.97 < node.weight.std() / (2 / (9 * node.out_channels)) ** 0.5 < 1.03
    else:
        assert backbone.ida_up.up[2].weight.shape == (64, 1, 8, 8)


# ---- hourglass ----


def test_hourglass_from_config():
    cfg = config("hourglass", "MODEL.HOURGLASS.STACKS", 1)
    with torch.device("meta"):
        backbone = build_backbone(cfg)
    assert isinstance(backbone, Hourglass)
    assert backbone.output_shape() == {"stack1": ShapeSpec(channels=256, stride=4)}
    assert backbone.size_divisibility == 128
    # published sizes of the parts of Hourglass-52: stem, hourglass, output convolution
    assert sum(p.numel() for p in backbone.parameters()) == 938_112 + 92_134_400 + 590_336


def test_hourglass_104_has_the_published_parts():
    with torch.device("meta"):
        backbone = Hourglass()
    assert list(backbone.output_shape()) == ["stack1", "stack2"]
    sizes = {name: sum(p.numel() for p in m.parameters()) for name, m in backbone.named_children()}
    assert sizes == {
        "stem": 938_112,
        "hourglasses": 184_268_800,
        "outputs": 1_180_672,
        "merge_input": 66_048,
        "merge_output": 66_048,
        "merged": 1_180_672,
    }


@torch.no_grad()
def test_hourglass_takes_the_sizes_of_cornernet():
    backbone = Hourglass(stacks=1, **SMALL_HOURGLASS).eval()  # two levels: multiples of 16
    for side in (15, 16, 31, 127):
        map_side = -(-side // 4)
        shape = (1, 24, map_side, map_side)
        assert backbone(torch.randn(1, 3, side, side))["stack1"].shape == shape
    for side in (8, 17, 24):
        with pytest.raises(
            ValueError, match=rf"{side} x {side} .* pad the input to multiples of 16"
        ):
            backbone(torch.randn(1, 3, side, side))


@torch.no_grad()
def test_later_stacks_read_the_earlier():
    torch.manual_seed(0)
    backbone = Hourglass(stacks=2, **SMALL_HOURGLASS).eval()
    images = torch.randn(1, 3, 32, 32)
    before = backbone(images)
    nn.init.normal_(backbone.outputs[0][0].weight)
    after = backbone(images)
    assert not torch.allclose(before["stack1"], after["stack1"])
    assert not torch.allclose(before["stack2"], after["stack2"])
    nn.init.normal_(backbone.outputs[1][0].weight)
    assert torch.equal(backbone(images)["stack1"], after["stack1"])


def test_hourglass_norm_starts():
    torch.manual_seed(0)
    factors = {}
    for start in ("ones", "uniform"):
        backbone = Hourglass(stacks=1, norm_init=start, **SMALL_HOURGLASS)
        norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
        factors[start] = torch.cat([m.weight.detach() for m in norms])
        assert not any(m.bias.any() for m in norms)
    assert bool((factors["ones"] == 1).all())
    assert 0.4 < factors["uniform"].mean() < 0.6
    assert 0 <= factors["uniform"].min() < 0.1
    assert 0.9 < factors["uniform"].max() <= 1


@pytest.mark.parametrize(("dtype", "norm"), [(None, "BN"), (torch.bfloat16, "BN"), (None, "GN")])
def test_a_recomputed_hourglass_is_the_same(dtype, norm):
    """Maps, gradients and statistics bit for bit, of less memory."""
    found, kept = [], []
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for recompute in (False, True):
        torch.manual_seed(0)
        backbone = Hourglass(stacks=2, norm=norm, recompute=recompute, **SMALL_HOURGLASS).train()
        sizes = {}

        def note(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.numel()
            return tensor

        for _ in range(2):
            with (
                torch.autocast("cpu", dtype=dtype, enabled=dtype is not None),
                torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            ):
                maps = backbone(images)
            sum(m.float().square().mean() for m in maps.values()).backward()
        gradients = [p.grad for p in backbone.parameters()]
        found.append([*maps.values(), *gradients, *backbone.buffers()])
        kept.append(sum(sizes.values()))
    assert all(map(torch.equal, *found))
    assert kept[1] < 0.6 * kept[0]
    assert all(m.momentum for m in backbone.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("stacks", [1, 2])
def test_a_small_hourglass_learns(stacks):
    torch.manual_seed(0)
    backbone = Hourglass(stacks=stacks, **SMALL_HOURGLASS).train()
    images = torch.randn(4, 3, 32, 32)
    targets = nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4)
    optimizer = torch.optim.Adam(backbone.parameters(), lr=0.003)
    losses = []
    for _ in range(15):
        loss = sum((m[:, :1] - targets.relu()).square().mean() for m in backbone(images).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize(
    ("backbone", "arguments", "message"),
    [
        (ResNetDeconv, {"depth": 20}, "depth must be one of .* got 20"),
        (ResNetDeconv, {"upsample": "dcn"}, "upsample must be one of .* got 'dcn'"),
        (ResNetDeconv, {"upsample_init": "zero"}, "upsample_init must be one of .* got 'zero'"),
        (ResNetDeconv, {"norm": "BatchNorm"}, "unknown norm 'BatchNorm'"),
        (EncoderDecoder, {"channels": [8, 16], "blocks": [1]}, r"got \[8, 16\] and \[1\]"),
        (EncoderDecoder, {"channels": [], "blocks": []}, "one entry per level"),
        (EncoderDecoder, {"channels": [8], "blocks": [0]}, "at least 1"),
        (EncoderDecoder, {"interpolation": "cubic"}, "interpolation must be one of .* got 'cubic'"),
        (DLA, {"upsample": "dcn"}, "upsample must be one of .* got 'dcn'"),
        (DLA, {"channels": [8, 16]}, r"one entry for each of the strides .* got \[8, 16\]"),
        (DLA, {"depths": [1, 1, 1, 2, 2, 0]}, "each depth at least 1"),
        (Hourglass, {"stacks": 0}, "stacks must be 1 or more, got 0"),
        (Hourglass, {"channels": [8], "blocks": [1]}, r"two at least, .* got \[8\] and \[1\]"),
        (Hourglass, {"channels": [8, 8], "blocks": [1, 0]}, "no block count under 1"),
        (Hourglass, {"stem_kernel": 4}, "must be an odd number"),
        (Hourglass, {"norm_init": "zeros"}, r"norm_init must be one of .*, got 'zeros'"),
    ],
)
def test_wrong_arguments_are_named(backbone, arguments, message):
    with pytest.raises(ValueError, match=message):
        backbone(**arguments)


# ---- backbones of other packages ----


def test_timm_from_config():
    pytest.importorskip("timm")
    cfg = config("timm", "MODEL.PIXEL_MEAN", [0.0], "MODEL.PIXEL_STD", [1.0])
    cfg.MODEL.TIMM.NAME = "mobilenetv3_small_050"
    cfg.MODEL.TIMM.OUT_CHANNELS = 24
    backbone = build_backbone(cfg)
    assert isinstance(backbone, TimmBackbone)
    assert backbone.size_divisibility == 32
    assert backbone(torch.randn(2, 1, 64, 96))["timm"].shape == (2, 24, 16, 24)


def test_timm_errors():
    with pytest.raises(ValueError, match="has no model 'resnet19'"):
        timm_backbone("resnet19")
    with pytest.raises(ValueError, match=r"strides \[16, 16, 16\].*hierarchical"):
        timm_backbone("vit_tiny_patch16_224")


def test_missing_timm_names_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # what an import of it then meets
    with pytest.raises(ImportError, match="pip install timm"):
        build_backbone(config("timm"))


def test_finest_of_pyramid_is_that_of_detectron2():
    torch.manual_seed(0)
    ours = resnet_fpn().eval()
    assert isinstance(ours, FinestOfPyramid)
    assert ours.output_shape() == {"p2": ShapeSpec(channels=32, stride=4)}
    cfg = config("resnet_fpn", "MODEL.RESNETS.DEPTH", 18, "MODEL.FPN.OUT_CHANNELS", 32)
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.RESNETS.NORM = cfg.MODEL.FPN.NORM = "BN"
    theirs = build_backbone(cfg).eval()
    missing, unexpected = theirs.load_state_dict(ours.pyramid.state_dict(), strict=False)
    assert not unexpected
    assert {name.split(".")[0] for name in missing} == {f"fpn_output{level}" for level in (3, 4, 5)}
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(ours(images)["p2"], theirs(images)["p2"])
