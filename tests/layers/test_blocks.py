import pytest
import torch
import torch.nn.functional as F
from torch import nn

from centernet_d2.layers.blocks import ConvNormRelu, PredictionBranch, ResidualBlock, make_norm


def gradcheck(module, x):
    """Of the input and of every parameter; training mode, float64."""
    module = module.double().train()
    names, values = zip(*module.named_parameters(), strict=True)

    def function(x, *parameters):
        state = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(module, state, (x,))

    values = [value.detach().clone().requires_grad_() for value in values]
    return torch.autograd.gradcheck(
        function, (x.double().requires_grad_(), *values), fast_mode=True
    )


# ---- norms ----


@pytest.mark.parametrize(
    ("norm", "kind"),
    [
        ("BN", nn.BatchNorm2d),
        ("SyncBN", nn.SyncBatchNorm),
        ("GN", nn.GroupNorm),
        ("", nn.Identity),
    ],
)
def test_norms_by_name(norm, kind):
    assert isinstance(make_norm(norm, 64), kind)


def test_frozen_norm_has_nothing_to_train():
    assert not list(make_norm("FrozenBN", 8).parameters())


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (16, 16), (40, 8), (7, 1)])
def test_groups_divide_the_channels(channels, groups):
    assert make_norm("GN", channels).num_groups == groups


def test_unknown_norm():
    with pytest.raises(ValueError, match="unknown norm 'XX'"):
        make_norm("XX", 40)


# ---- conv, norm, relu ----


@pytest.mark.parametrize(
    ("kernel_size", "stride", "out"),
    [(3, 1, (5, 7)), (3, 2, (3, 4)), (1, 1, (5, 7)), (7, 2, (3, 4))],
)
def test_conv_norm_relu_shapes(kernel_size, stride, out):
    block = ConvNormRelu(3, 4, kernel_size=kernel_size, stride=stride)
    result = block(torch.randn(2, 3, 5, 7))
    assert result.shape == (2, 4, *out)
    assert result.min() == 0


def test_conv_norm_relu_values():
    block = ConvNormRelu(3, 4).double().eval()
    nn.init.normal_(block[1].bias)
    nn.init.normal_(block[1].running_mean)
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    mapped = F.conv2d(x, block[0].weight, padding=1)
    mean, bias = (t[None, :, None, None] for t in (block[1].running_mean, block[1].bias))
    torch.testing.assert_close(block(x), ((mapped - mean) / (1 + 1e-5) ** 0.5 + bias).relu())


def test_bias_only_without_norm():
    assert ConvNormRelu(3, 4)[0].bias is None
    assert ConvNormRelu(3, 4, norm="")[0].bias is not None


@pytest.mark.parametrize("norm", ["BN", ""])
def test_conv_norm_relu_gradients(norm):
    torch.manual_seed(0)
    assert gradcheck(ConvNormRelu(2, 3, norm=norm), torch.randn(2, 2, 4, 3))


# ---- residual ----


@pytest.mark.parametrize(
    ("out_channels", "stride", "projected"), [(4, 1, False), (6, 1, True), (4, 2, True)]
)
def test_residual_block_projects_only_where_it_must(out_channels, stride, projected):
    block = ResidualBlock(4, out_channels, stride=stride)
    size = (5, 7) if stride == 1 else (3, 4)
    assert block(torch.randn(2, 4, 5, 7)).shape == (2, out_channels, *size)
    assert bool(list(block.skip.parameters())) == projected
    names = {name.rsplit(".", 1)[0] for name, _ in block.named_parameters()}
    skip = {"skip.0", "skip.1"} if projected else set()
    assert names == {"conv1", "bn1", "conv2", "bn2"} | skip


def test_residual_block_values():
    block = ResidualBlock(3, 3).double().eval()
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    before = x.clone()
    inner = (F.conv2d(x, block.conv1.weight, padding=1) / (1 + 1e-5) ** 0.5).relu()
    outer = F.conv2d(inner, block.conv2.weight, padding=1) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(block(x), (outer + x).relu())
    assert torch.equal(x, before), "the input must stay as it was"


@pytest.mark.parametrize(("out_channels", "stride"), [(2, 1), (3, 2)])
def test_residual_block_gradients(out_channels, stride):
    torch.manual_seed(0)
    assert gradcheck(ResidualBlock(2, out_channels, stride=stride), torch.randn(2, 2, 4, 4))


# ---- prediction branch ----


@pytest.mark.parametrize("out_channels", [4, 6])
def test_pooled_skip(out_channels):
    torch.manual_seed(0)
    block = ResidualBlock(4, out_channels, stride=2, pooled_skip=True).eval()
    features = torch.randn(2, 4, 6, 8)
    pooled = F.max_pool2d(features, 2)
    if out_channels == 4:  # the same width: nothing to project, whatever the stride
        assert not list(block.skip.parameters())
        skip = pooled
    else:
        assert block.skip[0].stride == (1, 1)
        skip = block.skip(pooled)
    assert block.conv1.stride == (2, 2)
    residual = block.bn2(block.conv2(block.bn1(block.conv1(features)).relu()))
    assert torch.equal(block(features), (residual + skip).relu())
    plain = ResidualBlock(4, 4, pooled_skip=True)
    assert plain.state_dict().keys() == ResidualBlock(4, 4).state_dict().keys()


def test_prediction_branch_has_published_indices():
    branch = PredictionBranch(6, 5, 4)
    shapes = {name: tuple(value.shape) for name, value in branch.state_dict().items()}
    assert shapes == {
        "0.weight": (5, 6, 3, 3),
        "0.bias": (5,),
        "2.weight": (4, 5, 1, 1),
        "2.bias": (4,),
    }
    assert branch(torch.randn(2, 6, 5, 7)).shape == (2, 4, 5, 7)


def test_prediction_branch_without_hidden_layer():
    branch = PredictionBranch(6, 0, 4, prior_bias=-2.19)
    assert {name: tuple(v.shape) for name, v in branch.state_dict().items()} == {
        "0.weight": (4, 6, 1, 1),
        "0.bias": (4,),
    }
    assert branch.last_layer is branch[0]
    assert torch.all(branch.last_layer.bias == -2.19)


def test_prior_bias_is_set_on_the_last_layer_only():
    branch = PredictionBranch(6, 5, 4, prior_bias=-2.19)
    assert torch.all(branch[2].bias == -2.19)
    assert branch[0].bias.abs().sum() > 0, "published: the first bias keeps torch's start"
    assert not torch.any(branch[0].bias == -2.19)
    assert PredictionBranch(6, 5, 4)[2].bias.unique().numel() == 4


def test_prediction_branch_gradients_and_values():
    torch.manual_seed(0)
    branch = PredictionBranch(2, 3, 2).double()
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64)
    hidden = F.conv2d(x, branch[0].weight, branch[0].bias, padding=1).relu()
    torch.testing.assert_close(branch(x), F.conv2d(hidden, branch[2].weight, branch[2].bias))
    assert gradcheck(branch, x)


@pytest.mark.parametrize(
    "block", [ConvNormRelu(3, 4), ResidualBlock(3, 4, stride=2), PredictionBranch(3, 4, 2)]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes_and_layout(block, dtype):
    x = torch.randn(2, 3, 6, 6).to(dtype).contiguous(memory_format=torch.channels_last)
    out = block.to(dtype)(x)
    assert out.dtype == dtype
    assert out.isfinite().all()
    assert out.is_contiguous(memory_format=torch.channels_last)
    block.float()
