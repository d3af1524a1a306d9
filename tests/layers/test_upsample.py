import pytest
import torch
import torch.nn.functional as F
from torch import nn

from centernet_d2.layers.upsample import (
    BilinearUpsampling,
    bilinear_kernel,
    fill_bilinear_,
    upsample_by_two,
)


@pytest.mark.parametrize(
    ("size", "profile"),
    [
        (1, [1.0]),
        (3, [0.5, 1.0, 0.5]),
        (4, [0.25, 0.75, 0.75, 0.25]),
        (8, [0.125, 0.375, 0.625, 0.875, 0.875, 0.625, 0.375, 0.125]),
    ],
)
def test_bilinear_kernel_values(size, profile):
    profile = torch.tensor(profile, dtype=torch.float64)
    assert torch.equal(bilinear_kernel(size), torch.outer(profile, profile))


def test_bilinear_kernel_refuses_an_empty_one():
    with pytest.raises(ValueError, match="1 or more, got 0"):
        bilinear_kernel(0)


@pytest.mark.parametrize("groups", [1, 3])
def test_all_channels_interpolate_their_own_input(groups):
    layer = upsample_by_two(3, 3, groups=groups).double()
    fill_bilinear_(layer.weight, "all")
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    out = layer(x)
    assert out.shape == (2, 3, 10, 12)
    # The border differs: interpolation repeats the edge, a convolution sees zeros there.
    torch.testing.assert_close(out[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])


def test_first_channel_alone_is_written():
    before = torch.randn(3, 5, 4, 4)
    weight = before.clone()
    assert fill_bilinear_(weight, "first") is weight
    assert torch.equal(weight[:, 1:], before[:, 1:])
    assert torch.equal(weight[:, 0], bilinear_kernel(4).float().expand(3, 4, 4))


def test_a_depthwise_kernel_is_filled_alike():
    filled = [fill_bilinear_(torch.randn(6, 1, 8, 8), channels) for channels in ("all", "first")]
    assert torch.equal(*filled)
    assert torch.equal(filled[0][5, 0], bilinear_kernel(8).float())


def test_a_parameter_stays_trainable():
    layer = upsample_by_two(2, 2)
    fill_bilinear_(layer.weight)
    layer(torch.ones(1, 2, 3, 3)).sum().backward()
    assert layer.weight.grad.abs().sum() > 0
    assert layer.bias is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes(dtype):
    weight = fill_bilinear_(torch.zeros(2, 2, 4, 4, dtype=dtype))
    assert weight.dtype == dtype
    assert torch.equal(weight[1, 1], bilinear_kernel(4).to(dtype))


@pytest.mark.parametrize(
    ("shape", "channels", "message"),
    [
        ((2, 2, 4, 4), "some", "got 'some'"),
        ((2, 3, 4, 4), "all", "as many output as input channels"),
        ((2, 2, 4, 3), "all", "needs a .in, out, k, k. kernel"),
        ((2, 2, 4), "first", "needs a .in, out, k, k. kernel"),
    ],
)
def test_errors(shape, channels, message):
    with pytest.raises(ValueError, match=message):
        fill_bilinear_(torch.zeros(shape), channels)


@pytest.mark.parametrize("factor", [2, 4])
def test_learned_upsampling_of_each_channel(factor):
    torch.manual_seed(0)
    layer = BilinearUpsampling(3, factor)
    assert isinstance(layer, nn.ConvTranspose2d)
    ramp = torch.arange(6.0).expand(1, 3, 6, 6)
    out = layer(ramp)
    assert out.shape == (1, 3, 6 * factor, 6 * factor)
    inner = out[0, 0, 3 * factor, factor : 5 * factor]  # away from the zeros around the map
    steps = inner.diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 1 / factor))
    nn.init.normal_(layer.weight)  # channels do not mix
    changed = ramp.clone()
    changed[:, 1] += 1
    difference = (layer(changed) - layer(ramp)).abs().amax(dim=(0, 2, 3))
    assert (difference > 0).tolist() == [False, True, False]


@pytest.mark.parametrize("autocast", [True, False])
def test_learned_upsampling_in_bfloat16(autocast):
    torch.manual_seed(0)
    layer = BilinearUpsampling(4, 2)
    nn.init.normal_(layer.weight)
    features = torch.randn(2, 4, 5, 6).bfloat16()
    expected = nn.ConvTranspose2d.forward(layer, features.float())
    if autocast:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = layer(features)
    else:
        out = layer.bfloat16()(features)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=0.02, atol=0.02)
    out.sum().backward()
    assert layer.weight.grad.abs().sum() > 0
