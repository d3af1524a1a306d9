"""Fused convolutions against plain layers, where oneDNN computes them and where it must not."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from centernet_d2.layers.fused_conv import FusedConv2d

CONVOLUTIONS = {
    "weights larger than the map": lambda: nn.Conv2d(16, 24, 3, padding=1),
    "stride": lambda: nn.Conv2d(16, 24, 3, stride=2, padding=1, bias=False),
    "one by one": lambda: nn.Conv2d(16, 8, 1),
    "groups, dilation": lambda: nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=4),
}


def made(name="weights larger than the map", *, relu=True):
    torch.manual_seed(0)
    plain = CONVOLUTIONS[name]()
    return plain, FusedConv2d.of(plain, relu=relu)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("name", CONVOLUTIONS)
@torch.inference_mode()
def test_as_separate_layers(name, relu):
    plain, fused = made(name, relu=relu)
    after = torch.relu if relu else nn.Identity()
    for batch, side in ((1, 5), (2, 40), (1, 6), (1, 5)):  # sizes change, and come back
        features = torch.randn(batch, 16, side, side).to(memory_format=torch.channels_last)
        assert fused._is_served(features)
        expected = plain(features)
        added = torch.randn_like(expected)
        kept = added.clone()
        torch.testing.assert_close(fused(features), after(expected))
        torch.testing.assert_close(fused(features, added), after(expected + added))
        assert torch.equal(added, kept)
    assert dict(fused.named_parameters()).keys() == dict(plain.named_parameters()).keys()


@torch.no_grad()
def test_a_picture_without_a_batch():
    plain, fused = made()
    features = torch.randn(16, 5, 5)
    assert torch.equal(fused(features), torch.relu(plain(features)))


@torch.no_grad()
def test_weights_that_change_are_ordered_anew():
    plain, fused = made()
    features = torch.randn(1, 16, 4, 4)
    for change in (
        lambda: plain.weight.mul_(2),
        lambda: fused.load_state_dict({k: v + 1 for k, v in plain.state_dict().items()}),
        lambda: fused.double().float(),
    ):
        fused(features)
        change()
        torch.testing.assert_close(fused(features), torch.relu(plain(features)))


@torch.no_grad()
def test_copies_and_pickles():
    _, fused = made()
    features = torch.randn(1, 16, 4, 4)
    expected = fused(features)
    assert fused._ordered[1] is not None
    file = io.BytesIO()
    torch.save(fused, file)
    file.seek(0)
    for other in (
        copy.deepcopy(fused),
        pickle.loads(pickle.dumps(fused)),
        torch.load(file, weights_only=False),
    ):
        assert torch.equal(other(features), expected)
        other.weight.zero_()
    assert torch.equal(fused(features), expected)


def test_plain_layers_where_onednn_must_not():
    plain, fused = made()
    features = torch.randn(1, 16, 8, 8)
    (gradient,) = torch.autograd.grad(fused(features).sum(), fused.weight)
    (expected,) = torch.autograd.grad(torch.relu(plain(features)).sum(), plain.weight)
    torch.testing.assert_close(gradient, expected)
    with torch.no_grad():
        torch.testing.assert_close(
            fused.double()(features.double()), plain(features.double()).relu()
        )
        fused.float()
        with torch.autocast("cpu", torch.bfloat16):
            assert fused(features).dtype == torch.bfloat16
        assert fused(features[:0]).shape == (0, 24, 8, 8)
        exported = torch.export.export(fused, (features,)).graph
        assert not any("mkldnn" in str(node.target) for node in exported.nodes)
        traced = torch.jit.trace(fused, features)
        assert "mkldnn" not in str(traced.graph)
        torch.testing.assert_close(traced(features), fused(features))


@torch.inference_mode()
def test_half_type():
    plain, fused = made()
    features = torch.randn(1, 16, 8, 8)
    expected = torch.relu(plain(features))
    found = fused.bfloat16()(features.bfloat16())
    assert (found - expected).abs().max() < 0.02 * expected.max()
