"""The pooling modules against the formulas of their papers' published code."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from centernet_d2.layers.corner_modules import CascadeCornerPooling, CenterPooling, CornerPooling
from centernet_d2.layers.directional_pool import directional_pool, pool_with

DIRECTIONS = {"top_left": ("top", "left"), "bottom_right": ("bottom", "right")}


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("kind", "count"),
    [(CornerPooling, 1_542_144), (CascadeCornerPooling, 2_427_392), (CenterPooling, 1_542_144)],
)
@pytest.mark.parametrize("pools", [True, False])
def test_published_parameter_counts_with_and_without_pools(kind, count, pools):
    assert parameters(kind(256, 256, pools=pools)) == count


def small(kind, **arguments):
    torch.manual_seed(1)
    module = kind(6, 5, pool_channels=4, **arguments).double()
    for name, tensor in module.state_dict().items():
        if tensor.dim() == 1 and "running" not in name:
            tensor.uniform_(0.5, 1.5)  # norms that do something
    return module, torch.randn(2, 6, 7, 9, dtype=torch.float64)


def convolved(block, features, *, relu=True):
    """conv - batch norm (of the batch) - ReLU of a (conv, norm) pair, by functions."""
    convolution, norm = block[0], block[1]
    maps = F.conv2d(
        features, convolution.weight, convolution.bias, padding=convolution.kernel_size[0] // 2
    )
    maps = F.batch_norm(maps, None, None, norm.weight, norm.bias, training=True)
    return maps.relu() if relu else maps


def merged(module, features, columns, rows):
    united = convolved(module.merge, columns + rows, relu=False)
    united = united + convolved(module.shortcut, features, relu=False)
    return convolved(module.output, united.relu())


@pytest.mark.parametrize("corner", DIRECTIONS)
def test_corner_pooling(corner):
    module, features = small(CornerPooling, corner=corner)
    columns, rows = (
        directional_pool(convolved(branch, features), direction)
        for branch, direction in zip(module.branches, DIRECTIONS[corner], strict=True)
    )
    torch.testing.assert_close(module(features), merged(module, features, columns, rows))


@pytest.mark.parametrize("corner", DIRECTIONS)
def test_cascade_looks_inward_with_the_other_pool_first(corner):
    module, features = small(CascadeCornerPooling, corner=corner)
    along, across = DIRECTIONS[corner], DIRECTIONS[corner][::-1]
    branches = []
    for k in range(2):
        inside = directional_pool(convolved(module.look[k], features), across[k])
        edge = convolved(module.branches[k], features) + inside
        weight = module.look_merge[k].weight
        assert module.look_merge[k].bias is None
        branches.append(directional_pool(F.conv2d(edge, weight, padding=1), along[k]))
    expected = merged(module, features, *branches)
    torch.testing.assert_close(module(features), expected)
    module.pools[0], module.pools[1] = module.pools[1], module.pools[0]  # loads, and is wrong
    assert not torch.allclose(module(features), expected)


@pytest.mark.parametrize("corner", DIRECTIONS)
def test_cascade_looks_inward_from_the_boundarys_maximum(corner):
    """The paper's order, with all parameters of the code's."""
    module, features = small(CascadeCornerPooling, corner=corner, order="boundary_first")
    branches = []
    for k, along in enumerate(DIRECTIONS[corner]):
        inside = directional_pool(convolved(module.look[k], features), DIRECTIONS[corner][1 - k])
        both = pool_with(convolved(module.branches[k], features), inside, along)
        branches.append(F.conv2d(sum(both), module.look_merge[k].weight, padding=1))
    found = module(features)
    torch.testing.assert_close(found, merged(module, features, *branches))
    gradients = torch.autograd.grad(found.square().sum(), list(module.parameters()))
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


def test_center_pooling_sees_whole_columns_and_rows():
    module, features = small(CenterPooling)
    maps = [convolved(branch, features) for branch in module.branches]
    columns = maps[0].amax(2, keepdim=True).expand_as(maps[0])
    rows = maps[1].amax(3, keepdim=True).expand_as(maps[1])
    torch.testing.assert_close(module(features), merged(module, features, columns, rows))


@pytest.mark.parametrize("kind", [CornerPooling, CascadeCornerPooling, CenterPooling])
def test_without_pools_a_far_cell_is_not_seen(kind):
    for pools in (True, False):
        module, features = small(kind, pools=pools)
        module.eval()
        changed = features.clone()
        changed[:, :, 6, 8] += 100
        moved = (module(changed) != module(features)).any(1).flatten(1)[0].view(7, 9)
        assert moved[:, 0].any() == moved[0].any() == pools


def test_unknown_corner():
    with pytest.raises(ValueError, match="'left'"):
        CornerPooling(4, 4, corner="left")
