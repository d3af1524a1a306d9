import copy
import logging
from collections import Counter

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_resnet_backbone
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from centernet_d2.layers.blocks import ResidualBlock
from centernet_d2.layers.deform_conv import DeformConv2d
from centernet_d2.modeling.backbone import TimmBackbone
from centernet_d2.modeling.fuse import fold_batch_norm, fuse_additions

from .test_fuse import BUILD, randomize

IMAGES = (1, 3, 64, 64)


class Operators(TorchDispatchMode):
    """How often each operator runs."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[function.name().partition("::")[2].partition(".")[0]] += 1
        return function(*args, **(kwargs or {}))


def detectron2_resnet():
    cfg = get_cfg()
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2"]
    return build_resnet_backbone(cfg, ShapeSpec(channels=3))


def timm_resnet():
    pytest.importorskip("timm")
    return TimmBackbone(name="resnet26", out_channels=8)


NETWORKS = {**BUILD, "detectron2": detectron2_resnet, "timm": timm_resnet}


def folded(build):
    torch.manual_seed(0)
    network = randomize(build()).eval().to(memory_format=torch.channels_last)
    fold_batch_norm(network, torch.randn(IMAGES))
    return network


@pytest.mark.parametrize(
    ("name", "passes"),
    [  # ReLU and additions that are left, beside those of deformable layers
        ("bottleneck, plain", {"relu_": 3}),  # of the transposed convolutions
        ("DLA, plain", {}),
        ("Hourglass", {"relu_": 1, "add": 5}),  # on the way up of each stack, and between them
        ("EncoderDecoder", {"add": 3}),
        ("detectron2", {"relu_": 1}),  # of the stem, which is no module
        ("timm", {"add": 3}),
    ],
)
@torch.no_grad()
def test_convolutions_take_the_passes_over_the_map(name, passes):
    network = folded(NETWORKS[name])
    images = torch.randn(2, 3, 64, 96).contiguous(memory_format=torch.channels_last)
    expected = network(images)
    assert fuse_additions(network, torch.randn(IMAGES)) >= 5
    with Operators() as operators:
        found = copy.deepcopy(network)(images)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-5)
    left = {k: operators.counts[k] for k in ("relu", "relu_", "add", "add_", "convolution")}
    assert {k: n for k, n in left.items() if n and k != "convolution"} == passes
    assert left["convolution"] == sum(isinstance(m, nn.ConvTranspose2d) for m in network.modules())


@torch.no_grad()
def test_deformable_layers_stay_as_they_are():
    network = folded(BUILD["DLA"])
    fuse_additions(network, torch.randn(IMAGES))
    layers = [m for m in network.modules() if isinstance(m, DeformConv2d)]
    assert {type(layer.conv_offset_mask) for layer in layers} == {nn.Conv2d}


class UsedRaw(nn.Module):
    """A convolution whose output is also used without the ReLU after it."""

    def __init__(self):
        super().__init__()
        self.convolution, self.relu = nn.Conv2d(3, 3, 3), nn.ReLU()

    def forward(self, images):
        raw = self.convolution(images)
        return self.relu(raw) + raw


@torch.no_grad()
def test_what_would_change_outputs_stays(caplog):
    network, images = UsedRaw().eval(), torch.randn(1, 3, 8, 8)
    expected = network(images)
    with caplog.at_level(logging.WARNING):
        assert fuse_additions(network, images) == 0
    assert "outputs change" in caplog.text
    assert torch.equal(network(images), expected)


class ByKeyword(nn.Sequential):
    def forward(self, images):
        return self[1](input=self[0](input=images))


@torch.no_grad()
def test_layers_called_by_keyword_stay():
    network, images = ByKeyword(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), torch.randn(1, 3, 8, 8)
    expected = network(images)
    assert fuse_additions(network, images) == 0
    assert torch.equal(network(images), expected)


@torch.no_grad()
def test_nan_of_broken_weights_stays_to_be_seen(caplog):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    network[0].weight[0] = float("nan")
    images = torch.randn(1, 3, 8, 8)
    assert fuse_additions(network, images) == 0
    assert "outputs change, nan" in caplog.text
    assert network(images).isnan()[:, 0].all()


def test_a_block_with_more_than_the_table_says_stays():
    block = ResidualBlock(4, 4, norm="GN").eval()
    fuse_additions(network := nn.Sequential(block), torch.randn(1, 4, 8, 8))
    assert network[0] is block
