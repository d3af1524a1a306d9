import pytest
import torch
import torch.nn.functional as F

from centernet_d2.layers.upsample import bilinear_kernel, fill_bilinear_, upsample_by_two


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
    with pytest.raises(ValueError, match="at least 1, got 0"):
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
        ((2, 2, 4, 4), "some", "'some' is none of"),
        ((2, 3, 4, 4), "all", "as many output as input channels"),
        ((2, 2, 4, 3), "all", "needs a .in, out, k, k. kernel"),
        ((2, 2, 4), "first", "needs a .in, out, k, k. kernel"),
    ],
)
def test_errors(shape, channels, message):
    with pytest.raises(ValueError, match=message):
        fill_bilinear_(torch.zeros(shape), channels)
