"""Small blocks that backbones and heads are made of. All take and give (N, C, H, W) maps."""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from detectron2.layers import get_norm
from torch import Tensor, nn

from ..checked_values import check_choice


def make_norm(norm: str, channels: int) -> nn.Module:
    """The normalisation layer of detectron2's name `norm`, e.g. "BN", "SyncBN", "GN"; "" is none.

    "GN" has detectron2's 32 groups where they divide `channels`, else the most groups that do.
    """
    if norm == "GN":
        return nn.GroupNorm(math.gcd(32, channels), channels)
    try:
        return get_norm(norm, channels) or nn.Identity()
    except KeyError as error:
        raise ValueError(
            f"unknown norm {norm!r}; use a detectron2 name such as 'BN', 'SyncBN', 'GN' or ''"
        ) from error


NORM_INITS = ("ones", "uniform")


def start_norms(network: nn.Module, norm_init: str) -> None:
    """Start the factors of all norms at "ones", or "uniform" in (0, 1) as torch 0.4 did."""
    check_choice("norm_init", norm_init, NORM_INITS)
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.dim() == 1:  # of a norm; others have more
            nn.init.uniform_(weight) if norm_init == "uniform" else nn.init.ones_(weight)


def evaluated_stacks(head: nn.Module, features: Sequence[Tensor]) -> list[tuple[nn.Module, Tensor]]:
    """The stacks of a head with their features; in inference the last, which predicts, alone."""
    stacks: Any = head.stacks
    pairs = list(zip(stacks, features, strict=True))
    return pairs if head.training else pairs[-1:]


class ConvNormRelu(nn.Sequential):
    """Convolution (padded to keep H and W at stride 1), normalisation, ReLU: indices 0, 1, 2.

    (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)) for an odd
    kernel. The convolution has a bias only where no normalisation follows.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        norm: str = "BN",
    ) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=not norm
            ),
            make_norm(norm, out_channels),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """conv3x3 - norm - ReLU - conv3x3 - norm, plus the input, then ReLU.

    The input is projected (conv1x1 - norm) where the stride or the width changes, else added as it
    is. Parameter names (conv1, bn1, conv2, bn2, skip.0, skip.1) are those of the published
    hourglass. (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)).

    With `pooled_skip` the input is max-pooled by the stride before it is projected, and projected
    only where the width changes (published DLA; H and W are multiples of the stride).

    With `recompute` set it keeps its input alone for the backward pass, where it computes again.
    """

    recompute = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        norm: str = "BN",
        pooled_skip: bool = False,
    ) -> None:
        super().__init__()
        bias = not norm
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=bias)
        self.bn1 = make_norm(norm, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
        self.bn2 = make_norm(norm, out_channels)
        self.pool: nn.Module = nn.Identity()
        if pooled_skip and stride != 1:
            self.pool, stride = nn.MaxPool2d(stride), 1
        self.skip = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.skip = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=bias),
                make_norm(norm, out_channels),
            )

    def forward(self, features: Tensor) -> Tensor:
        if self.recompute and self.training and torch.is_grad_enabled():
            from .recompute import recomputed

            return recomputed(self, self._united, features)
        return self._united(features)

    def _united(self, features: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(torch.relu_(self.bn1(self.conv1(features)))))
        return torch.relu_(residual + self.skip(self.pool(features)))


class PredictionBranch(nn.Sequential):
    """One output of a head: conv3x3 - ReLU - conv1x1, both with bias, without normalisation.

    (N, in_channels, H, W) -> (N, out_channels, H, W), raw values. The layers are indices 0, 1, 2.
    With 0 `hidden_channels` a single conv1x1 is index 0. Parameters start as torch starts them but
    for the last layer's `prior_bias`: -2.19 lets a heatmap's cells start near probability 0.1.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        *,
        prior_bias: float | None = None,
    ) -> None:
        if hidden_channels > 0:
            super().__init__(
                nn.Conv2d(in_channels, hidden_channels, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(hidden_channels, out_channels, 1),
            )
        else:
            super().__init__(nn.Conv2d(in_channels, out_channels, 1))
        if prior_bias is not None and self.last_layer.bias is not None:
            nn.init.constant_(self.last_layer.bias, prior_bias)

    @property
    def last_layer(self) -> nn.Conv2d:
        """The convolution that gives the prediction."""
        return cast(nn.Conv2d, self[len(self) - 1])
