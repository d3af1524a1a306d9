"""Adam, AdamW or SGD from a config, with detectron2's gradient clipping and one more kind of it."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
    "SGD": torch.optim.SGD,
}


def build_optimizer(cfg: CfgNode, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer that SOLVER names.

    Adam keeps torch's betas and epsilon, as the published runs do. CLIP_GRADIENTS.CLIP_TYPE "value"
    and "norm" are detectron2's (each parameter by itself); "full_model" clips the norm of all
    gradients taken together.

    Raises:
        ValueError: SOLVER.OPTIMIZER is unknown.
    """
    name = cfg.SOLVER.OPTIMIZER
    if name not in OPTIMIZERS:
        raise ValueError(
            f"SOLVER.OPTIMIZER '{name}' is unknown. Use one of {', '.join(OPTIMIZERS)}."
        )
    parameters = get_default_optimizer_params(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
    )
    arguments: dict[str, Any] = {"lr": cfg.SOLVER.BASE_LR, "weight_decay": cfg.SOLVER.WEIGHT_DECAY}
    if name == "SGD":
        arguments.update(momentum=cfg.SOLVER.MOMENTUM, nesterov=cfg.SOLVER.NESTEROV)
    return _with_clipping(cfg, OPTIMIZERS[name])(merge_groups(parameters), **arguments)


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
    cfg: CfgNode, optimizer: type[torch.optim.Optimizer]
) -> type[torch.optim.Optimizer]:
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED or clip.CLIP_TYPE != "full_model":
        return maybe_add_gradient_clipping(cfg, optimizer)
    maximum, norm_type = clip.CLIP_VALUE, clip.NORM_TYPE

    class FullModelClipping(optimizer):  # type: ignore[valid-type,misc]
        def step(self, closure=None):
            every = [parameter for group in self.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(every, maximum, norm_type)
            return super().step(closure)

    FullModelClipping.__name__ = f"{optimizer.__name__}WithFullModelClipping"
    return FullModelClipping
