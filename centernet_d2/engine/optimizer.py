"""Adam, AdamW or SGD, with detectron2's gradient clipping and one more kind of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.solver.build import get_default_optimizer_params
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
    "SGD": torch.optim.SGD,
}


def _from_config(cfg: CfgNode, model: torch.nn.Module) -> dict[str, Any]:
    solver, clip = cfg.SOLVER, cfg.SOLVER.CLIP_GRADIENTS
    return {
        "model": model,
        "name": solver.OPTIMIZER,
        "lr": solver.BASE_LR,
        "weight_decay": solver.WEIGHT_DECAY,
        "weight_decay_norm": solver.WEIGHT_DECAY_NORM,
        "weight_decay_bias": solver.WEIGHT_DECAY_BIAS,
        "bias_lr_factor": solver.BIAS_LR_FACTOR,
        "sgd": {"momentum": solver.MOMENTUM, "nesterov": solver.NESTEROV},
        "clipping": (clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE) if clip.ENABLED else None,
    }


@configurable(from_config=_from_config)
def build_optimizer(
    model: torch.nn.Module,
    *,
    lr: float,
    name: str = "Adam",
    weight_decay: float = 0.0,
    weight_decay_norm: float | None = 0.0,
    weight_decay_bias: float | None = None,
    bias_lr_factor: float = 1.0,
    sgd: Mapping[str, Any] | None = None,
    clipping: tuple[str, float, float] | None = None,
) -> torch.optim.Optimizer:
    """Build an optimizer, from arguments or from (cfg, model): the one that SOLVER names.

    Adam keeps torch's betas and epsilon, as the published runs do.

    `name` is a key of `OPTIMIZERS`. The decay of norms or biases that is None is `weight_decay`.
    `sgd` has momentum and nesterov, of SGD alone. `clipping` is kind, largest value, and order of
    the norm: the kinds "value" and "norm" are detectron2's (each parameter by itself), "full_model"
    clips the norm of all gradients taken together.

    Raises:
        ValueError: the name, or the kind of clipping, is unknown.
    """
    if name not in OPTIMIZERS:
        raise ValueError(
            f"SOLVER.OPTIMIZER '{name}' is unknown. Use one of {', '.join(OPTIMIZERS)}."
        )
    groups = get_default_optimizer_params(
        model,
        base_lr=lr,
        weight_decay=weight_decay,
        weight_decay_norm=weight_decay_norm,
        bias_lr_factor=bias_lr_factor,
        weight_decay_bias=weight_decay_bias,
    )
    own = dict(sgd or {}) if name == "SGD" else {}
    kind = OPTIMIZERS[name] if clipping is None else _with_clipping(OPTIMIZERS[name], *clipping)
    return kind(merge_groups(groups), lr=lr, weight_decay=weight_decay, **own)


def merge_groups(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join parameter groups of equal settings, in their order.

    detectron2's main does so and 0.5 keeps a group per parameter; a checkpoint of one version could
    not be resumed under the other.
    """
    merged: dict[tuple[tuple[str, Any], ...], list[torch.nn.Parameter]] = {}
    for group in groups:
        settings = tuple((key, value) for key, value in group.items() if key != "params")
        merged.setdefault(settings, []).extend(group["params"])
    return [{"params": parameters, **dict(settings)} for settings, parameters in merged.items()]


def _with_clipping(
    optimizer: type[torch.optim.Optimizer], kind: str, maximum: float, norm_type: float
) -> type[torch.optim.Optimizer]:
    if kind not in ("value", "norm", "full_model"):
        raise ValueError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE '{kind}' must be 'value', 'norm' or 'full_model'."
        )

    class Clipping(optimizer):  # type: ignore[valid-type,misc]
        def step(self, closure=None):
            every = [parameter for group in self.param_groups for parameter in group["params"]]
            for part in [every] if kind == "full_model" else every:
                if kind == "value":
                    clip_grad_value_(part, maximum)
                else:
                    clip_grad_norm_(part, maximum, norm_type)
            return super().step(closure)

    Clipping.__name__ = f"{optimizer.__name__}WithClipping"
    return Clipping
