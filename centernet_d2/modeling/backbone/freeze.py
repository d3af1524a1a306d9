"""The first stages of a backbone kept as they are: no gradients, and statistics of norms fixed."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import Backbone
from torch import nn

from ...checked_values import check_at_least

PLAIN_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


@runtime_checkable
class Staged(Protocol):
    """A backbone that says what its stages are."""

    def freezable_stages(self) -> Sequence[Sequence[str]]:
        """Names of the submodules of each stage, the stem first."""


def freeze_stages(backbone: Backbone, count: int) -> None:
    """Freeze the first stages in place, as `MODEL.BACKBONE.FREEZE_AT` says.

    As in detectron2, their parameters have no gradient and their batch norms become
    `FrozenBatchNorm2d`. detectron2's own backbones do so themselves when they are built. More
    stages than there are, or a norm that cannot be frozen, is an error.
    """
    check_at_least("MODEL.BACKBONE.FREEZE_AT", count, 0)
    if not isinstance(backbone, Staged) or count == 0:
        return
    stages = backbone.freezable_stages()
    if count > len(stages):
        raise ValueError(
            f"MODEL.BACKBONE.FREEZE_AT is {count}, but {type(backbone).__name__} has "
            f"{len(stages)} stages, stem included: {', '.join(map('+'.join, stages))}"
        )
    for name in (name for stage in stages[:count] for name in stage):
        _freeze(backbone, name)


def _freeze(backbone: nn.Module, name: str) -> None:
    stage = backbone.get_submodule(name)
    if any(type(module).__name__.endswith("NormAct2d") for module in stage.modules()):
        from timm.layers import freeze_batch_norm_2d  # of its norms with an activation in them

        stage = freeze_batch_norm_2d(stage)
    for kind, norm in stage.named_modules():
        if isinstance(norm, PLAIN_NORMS) and type(norm).forward not in _FORWARDS:
            raise ValueError(
                f"MODEL.BACKBONE.FREEZE_AT cannot freeze {name}.{kind}, a {type(norm).__name__}, "
                "which does more than normalise; set it to 0"
            )
    for parameter in stage.parameters():
        parameter.requires_grad = False
    parent, _, child = name.rpartition(".")
    frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(stage)
    setattr(backbone.get_submodule(parent), child, frozen)


_FORWARDS = tuple(norm.forward for norm in PLAIN_NORMS)
