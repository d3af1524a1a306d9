"""Features -> raw maps through one small branch per quantity: no loss, no decoding."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ...checked_values import check_choice
from ...layers.blocks import PredictionBranch, evaluated_stacks
from ..point_tasks.base import PointTask, all_branches

NORMAL_STD = 0.001
REGRESSION_INITS = ("normal", "last_normal", "zero_bias", "torch")  # MODEL.POINTS_CENTERNET's


class BranchHead(nn.Module):
    """One set of branches per stack; all stacks predict the same quantities.

    Parameters are named `stacks.<stack>.<branch>.<0 or 2>.{weight,bias}`.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],  # of each stack's feature map
        heatmaps: Mapping[str, int],
        regressions: Mapping[str, int],
        hidden_channels: int,  # of the 3x3 convolution before the last 1x1; 0 leaves it out
        prior_bias: float = -2.19,  # of the last layer of heatmap branches
        regression_init: str = "normal",  # see `initialize_regression`
    ) -> None:
        """Build the branches, name -> channels; the sigmoid of a heatmap is a probability."""
        super().__init__()
        self.branches = (*heatmaps, *regressions)
        both = set(heatmaps) & set(regressions)
        if both:
            raise ValueError(
                f"two branches are named {sorted(both)}; rename one of the tasks' branches"
            )
        self.stacks = nn.ModuleList()
        for width in in_channels:
            branches = nn.ModuleDict()
            for name, channels in heatmaps.items():
                branch = PredictionBranch(width, hidden_channels, channels, prior_bias=prior_bias)
                branches[name] = branch
            for name, channels in regressions.items():
                branches[name] = PredictionBranch(width, hidden_channels, channels)
                initialize_regression(branches[name], regression_init)
            self.stacks.append(branches)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """Features (N, D, h, w) per stack -> branch name -> map (N, channels, h, w), per stack."""
        stacks = evaluated_stacks(self, features)
        return [{name: branch(each) for name, branch in stack.items()} for stack, each in stacks]


def points_head(
    *,
    tasks: Sequence[PointTask],
    num_classes: int,
    hidden_channels: int = 64,
    offset: bool = True,
    heatmap_loss: str = "focal",
    **options: Any,
) -> BranchHead:
    """The head of the points detector: center heatmap, offset and the branches of its tasks.

    `in_channels` and the other options are those of `BranchHead`.
    """
    branches = all_branches(tasks, num_classes, offset=offset, heatmap_loss=heatmap_loss)
    return BranchHead(
        heatmaps=branches.heatmaps,
        regressions=branches.regressions,
        hidden_channels=hidden_channels,
        **options,
    )


def check_head(head: nn.Module, branches: Iterable[str]) -> None:
    """Raise ValueError where a head says what branches it has, and some are not among them."""
    missing = [name for name in branches if name not in getattr(head, "branches", branches)]
    if missing:
        raise ValueError(
            f"the head has no branches {missing}, which the point tasks read; build it for the "
            "same tasks, as `points_head` does"
        )


def initialize_regression(branch: nn.Module, rule: str) -> None:
    """Start a regression branch as the published network of the given kind does."""
    check_choice("regression_init", rule, REGRESSION_INITS)
    if rule == "torch":
        return
    convolutions = [layer for layer in branch.modules() if isinstance(layer, nn.Conv2d)]
    for layer in convolutions[-1:] if rule == "last_normal" else convolutions:
        if rule != "zero_bias":
            nn.init.normal_(layer.weight, std=NORMAL_STD)
        nn.init.zeros_(layer.bias)
