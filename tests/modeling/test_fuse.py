import copy

import pytest
import torch
from detectron2.modeling.backbone.resnet import BasicStem
from torch import nn

from centernet_d2.layers.deform_conv import DeformConv2d
from centernet_d2.modeling.backbone import (
    DLA,
    EncoderDecoder,
    Hourglass,
    ResNetDeconv,
    TimmBackbone,
)
from centernet_d2.modeling.fuse import fold_batch_norm

BUILD = {
    "ResNetDeconv": lambda: ResNetDeconv(depth=18),
    "bottleneck, plain": lambda: ResNetDeconv(depth=50, upsample="plain"),
    "DLA": lambda: DLA(channels=[8, 8, 16, 24, 32, 48]),
    "DLA, plain": lambda: DLA(upsample="plain", channels=[8, 8, 16, 24, 32, 48]),
    "Hourglass": lambda: Hourglass(stacks=2, channels=[16, 16, 24], blocks=[1, 1, 2]),
    "EncoderDecoder": EncoderDecoder,
    "frozen": lambda: Hourglass(stacks=1, channels=[8, 16], blocks=[1, 1], norm="FrozenBN"),
}


def randomize(network):
    """Statistics and offsets as after some training."""
    for module in network.modules():
        if getattr(module, "running_var", None) is not None:
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
        if isinstance(module, DeformConv2d):
            nn.init.normal_(module.conv_offset_mask.weight, std=0.02)
    return network


def norms(network):
    return [m for m in network.modules() if getattr(m, "running_var", None) is not None]


@pytest.mark.parametrize("name", BUILD)
@torch.no_grad()
def test_all_norms_go_and_the_output_stays(name):
    torch.manual_seed(0)
    network = randomize(BUILD[name]()).double().eval()
    folded = copy.deepcopy(network)
    count = fold_batch_norm(folded, torch.randn(1, 3, 64, 64, dtype=torch.float64))
    assert count == len(norms(network)) > 5
    assert not norms(folded)
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    for key, expected in network(images).items():
        torch.testing.assert_close(folded(images)[key], expected, rtol=1e-9, atol=1e-9)
    single, images = network.float()(images.float()), images.float()
    for key, found in folded.float()(images).items():
        assert (found - single[key]).abs().max() < 1e-5 * single[key].abs().max()


@pytest.mark.parametrize("groups", [1, 2, 6])
@torch.no_grad()
def test_transposed_convolution_in_groups(groups):
    torch.manual_seed(0)
    layers = [nn.ConvTranspose2d(6, 12, 4, stride=2, groups=groups), nn.BatchNorm2d(12)]
    network = randomize(nn.Sequential(*layers)).double().eval()
    images = torch.randn(1, 6, 5, 5, dtype=torch.float64)
    expected = network(images)
    assert fold_batch_norm(network, images) == 1
    torch.testing.assert_close(network(images), expected)


class Shared(nn.Module):
    """One convolution under two norms, which cannot both be folded into it."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3)
        self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])

    def forward(self, images):
        return [norm(self.convolution(images)) for norm in self.norms]


class UsedTwice(nn.Module):
    """A convolution whose raw output is used as well."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, images):
        raw = self.convolution(images)
        return self.norm(raw) + raw


@torch.no_grad()
def test_what_cannot_be_folded_stays():
    torch.manual_seed(0)
    images = torch.randn(1, 3, 8, 8)
    between = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(3))
    before = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3))
    batch_statistics = nn.Sequential(
        nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3, track_running_stats=False)
    )
    for network in (between, before, batch_statistics, Shared()):
        randomize(network).eval()
        assert fold_batch_norm(network, images) == 0
        assert any(isinstance(m, nn.BatchNorm2d) for m in network.modules())


def test_a_wrong_fold_is_noticed():
    torch.manual_seed(0)
    with pytest.raises(RuntimeError, match="changed the network's output"):
        fold_batch_norm(randomize(UsedTwice()).eval(), torch.randn(1, 3, 8, 8))


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match="eval mode"):
        fold_batch_norm(EncoderDecoder().train(), torch.randn(1, 3, 32, 32))


@torch.no_grad()
def test_norms_with_their_activation_inside():
    pytest.importorskip("timm")
    network = TimmBackbone(name="tf_efficientnet_lite0", out_channels=8).eval()
    images = torch.randn(1, 3, 64, 64)
    before = network(images)["timm"]
    assert fold_batch_norm(network, images) > 40
    torch.testing.assert_close(network(images)["timm"], before, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_norms_inside_convolutions_of_detectron2():
    network = randomize(BasicStem(3, 8, norm="BN")).eval()
    images = torch.randn(1, 3, 16, 16)
    before = network(images)
    assert fold_batch_norm(network, images) == 1
    assert not norms(network)
    torch.testing.assert_close(network(images), before)
