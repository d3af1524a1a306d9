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


# Setting of a parameter group -> what sets it, for messages.
SETTINGS = {
    "initial_lr": "SOLVER.BASE_LR",
    "weight_decay": "SOLVER.WEIGHT_DECAY (_NORM, _BIAS)",
    "momentum": "SOLVER.MOMENTUM",
    "nesterov": "SOLVER.NESTEROV",
    "dampening": "the optimizer's dampening",
    "betas": "the optimizer's betas",
    "eps": "the optimizer's eps",
    "amsgrad": "the optimizer's amsgrad",
}


def kind_of(optimizer: torch.optim.Optimizer) -> str:
    """Return the name of an optimizer, as SOLVER.OPTIMIZER has it."""
    return type(optimizer).__name__.removesuffix("WithClipping")


def parameter_names(optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> list[str]:
    """Return the names of an optimizer's parameters, in its order."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names.get(id(p), "") for group in optimizer.param_groups for p in group["params"]]


def resume_optimizer(
    optimizer: torch.optim.Optimizer,
    saved: Mapping[str, Any],
    *,
    names: list[str],
    saved_names: list[str] | None,
    saved_kind: str | None,
    keeps_rate: bool = True,
) -> list[str]:
    """Give an optimizer the moments of a checkpoint; its own settings stay.

    The rate that a scheduler has set last is the checkpoint's.

    Args:
        optimizer: as the config asks for it.
        saved: `state_dict()` of the checkpoint's optimizer.
        names: `parameter_names` of the optimizer.
        saved_names: and of the checkpoint's; None in older checkpoints.
        saved_kind: `kind_of` the checkpoint's optimizer; None in older checkpoints.
        keeps_rate: whether `initial_lr` is a setting that stays; else the checkpoint's goes on.

    Returns:
        One sentence for each setting that differs.

    Raises:
        ValueError: the checkpoint is of another optimizer, or of parameters that are grouped in
            another way and not named.
    """
    kind, groups = kind_of(optimizer), saved["param_groups"]
    if saved_kind is None:  # its settings tell as much
        has_betas = "betas" in groups[0]
        same = has_betas == ("betas" in optimizer.param_groups[0])
        saved_kind = kind if same else "Adam" if has_betas else "SGD"
    if saved_kind != kind:
        raise ValueError(
            f"SOLVER.OPTIMIZER is '{kind}', and the run to resume has '{saved_kind}', whose state "
            f"does not fit. Set SOLVER.OPTIMIZER {saved_kind}; or start a new run with '{kind}' "
            "from its weights, by MODEL.WEIGHTS and another OUTPUT_DIR."
        )
    own = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    sizes = [[len(g["params"]) for g in each] for each in (groups, optimizer.param_groups)]
    regrouped = sizes[0] != sizes[1] or (saved_names is not None and saved_names != names)
    if regrouped:
        saved = _in_order(saved, optimizer, names, saved_names)
    optimizer.load_state_dict(dict(saved))
    told = []
    for key, config_key in SETTINGS.items():
        before, now = (_distinct(each, key) for each in (groups, own))
        kept = keeps_rate or key != "initial_lr"
        if before and now and before != now:
            new, old = (_words(each) for each in ((now, before) if kept else (before, now)))
            told.append(f"{config_key}: {new} is used, {'the run had' if kept else 'not'} {old}.")
        if not kept:
            continue
        for group, mine in zip(optimizer.param_groups, own, strict=True):
            if key in mine and (regrouped or key in group):
                group[key] = mine[key]
    return told


def _in_order(
    saved: Mapping[str, Any],
    optimizer: torch.optim.Optimizer,
    names: list[str],
    saved_names: list[str] | None,
) -> dict[str, Any]:
    """Return a saved state in the order and the groups of an optimizer."""
    if saved_names is None or sorted(saved_names) != sorted(names):
        raise ValueError(
            "The optimizer of the run to resume has its parameters in other groups. Set "
            "SOLVER.WEIGHT_DECAY, WEIGHT_DECAY_NORM, WEIGHT_DECAY_BIAS, BIAS_LR_FACTOR and "
            "MODEL.BACKBONE.FREEZE_AT as there; or start a new run from its weights, by "
            "MODEL.WEIGHTS and another OUTPUT_DIR."
        )
    place = {name: index for index, name in enumerate(saved_names)}
    moved = {k: saved["state"][place[n]] for k, n in enumerate(names) if place[n] in saved["state"]}
    return {"state": moved, "param_groups": optimizer.state_dict()["param_groups"]}


def _distinct(groups: list[dict[str, Any]], key: str) -> list[Any]:
    """The different values of a setting over the groups, in order of occurrence."""
    values = [tuple(v) if isinstance(v := g[key], list) else v for g in groups if key in g]
    return list(dict.fromkeys(values))


def _words(values: list[Any]) -> str:
    return " and ".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in values)


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
