"""Adam, AdamW or SGD, with detectron2's gradient clipping and one more kind of it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.solver import LRMultiplier
from detectron2.solver.build import (
    _generate_optimizer_class_with_gradient_clipping,
    get_default_optimizer_params,
)
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
    "SGD": torch.optim.SGD,
}

FUSED = ("cpu", "cuda")  # devices on which torch's fused steps compute


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
    # One pass over the memory of all instead of one per operation.
    fits = all(p.is_floating_point() and p.device.type in FUSED for p in model.parameters())
    own["fused"] = fits or None  # of False torch would make a step for each parameter
    kind = OPTIMIZERS[name] if clipping is None else _with_clipping(OPTIMIZERS[name], *clipping)
    optimizer = kind(merge_groups(groups), lr=lr, weight_decay=weight_decay, **own)
    if own["fused"]:
        optimizer.register_step_pre_hook(same_layout)
    return optimizer


@torch.no_grad()
def same_layout(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Bring gradients and moments to their parameter's layout in memory.

    torch's fused steps go through memory in its order, and say nothing where that of a resumed
    moment, say, is another: the step would be a wrong one.
    """
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        if parameter.grad is not None:
            parameter.grad = _laid_out_as(parameter, parameter.grad)
        state = optimizer.state.get(parameter, {})
        state.update({key: _laid_out_as(parameter, value) for key, value in state.items()})


def _laid_out_as(parameter: torch.Tensor, value: Any) -> Any:
    is_one = isinstance(value, torch.Tensor) and value.shape == parameter.shape
    if is_one and value.stride() != parameter.stride():
        return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    return value


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


# Setting of a parameter group -> its value and what sets it, for messages.
SETTINGS = {
    "initial_lr": "learning rate {} (SOLVER.BASE_LR and the batch)",
    "weight_decay": "weight decay {} (SOLVER.WEIGHT_DECAY, _NORM, _BIAS)",
    "momentum": "SOLVER.MOMENTUM: {}",
    "nesterov": "SOLVER.NESTEROV: {}",
    "betas": "the optimizer's betas: {}",
    "eps": "the optimizer's eps: {}",
}


def optimizer_state(optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> dict[str, Any]:
    """Return what a checkpoint holds of an optimizer: state, kind, names of the parameters."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        "optimizer": optimizer.state_dict(),
        "optimizer_kind": type(optimizer).__name__.removesuffix("WithGradientClip"),
        "optimizer_parameters": [names.get(id(p), str(k)) for k, p in enumerate(parameters)],
    }


def resume_optimizer(
    optimizer: torch.optim.Optimizer, scheduler: Any, model: torch.nn.Module, state: dict[str, Any]
) -> list[str]:
    """Take over the moments of a checkpoint; return a sentence for each setting that differs.

    The settings stay those of `optimizer`, its rate becomes that of the iteration of `scheduler`,
    which has the checkpoint's state. A scheduler that makes it of the rate before goes on with the
    checkpoint's. `state` is as `optimizer_state` returns.

    Raises:
        ValueError: the checkpoint is of another optimizer, or of other parameters.
    """
    here, saved = optimizer_state(optimizer, model), state["optimizer"]
    own, before = here["optimizer"]["param_groups"], saved["param_groups"]
    places = {name: index for index, name in enumerate(_saved_parameters(here, state))}
    computed, told = isinstance(scheduler, LRMultiplier), []
    for key, text in SETTINGS.items():
        was, now = (
            " and ".join(dict.fromkeys(str(group[key]) for group in groups if key in group))
            for groups in (before, own)
        )
        if was and now and was != now:
            stays = computed or key != "initial_lr"
            instead = "used, the run had" if stays else "not used, the scheduler goes on with"
            told.append(f"{text.format(now)} is {instead} {was}.")
    order = [places[name] for name in here["optimizer_parameters"]]
    moments = {k: saved["state"][place] for k, place in enumerate(order) if place in saved["state"]}
    optimizer.load_state_dict({"state": moments, "param_groups": own})
    if computed:
        scheduler.base_lrs = [group["initial_lr"] for group in own]
        for group, rate in zip(optimizer.param_groups, scheduler.get_lr(), strict=True):
            group["lr"] = rate
    elif _sizes(own) == _sizes(before):
        for group, old in zip(optimizer.param_groups, before, strict=True):
            group.update({key: old[key] for key in ("lr", "initial_lr") if key in old})
    return told


def _saved_parameters(here: Mapping[str, Any], state: Mapping[str, Any]) -> list[str]:
    """Names of the parameters of a checkpoint, which have to be those of the optimizer here."""
    kind, saved_kind = here["optimizer_kind"], state["optimizer_kind"]
    if saved_kind != kind:
        raise ValueError(
            f"SOLVER.OPTIMIZER is '{kind}', and the run to resume has '{saved_kind}', whose state "
            f"does not fit. Set SOLVER.OPTIMIZER {saved_kind}; or start a new run with '{kind}' "
            "from its weights, by MODEL.WEIGHTS and another OUTPUT_DIR."
        )
    saved_names: list[str] = state["optimizer_parameters"]
    if sorted(saved_names) != sorted(here["optimizer_parameters"]):
        raise ValueError(
            "The optimizer of the run to resume has other parameters, or in other groups. Set "
            "SOLVER.WEIGHT_DECAY, WEIGHT_DECAY_NORM, WEIGHT_DECAY_BIAS, BIAS_LR_FACTOR and "
            "MODEL.BACKBONE.FREEZE_AT as there; or start a new run from its weights, by "
            "MODEL.WEIGHTS and another OUTPUT_DIR."
        )
    return saved_names


def _sizes(groups: list[dict[str, Any]]) -> list[int]:
    return [len(group["params"]) for group in groups]


def _with_clipping(
    optimizer: type[torch.optim.Optimizer], kind: str, maximum: float, norm_type: float
) -> type[torch.optim.Optimizer]:
    if kind not in ("value", "norm", "full_model"):
        raise ValueError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE '{kind}' must be 'value', 'norm' or 'full_model'."
        )

    clip = partial(clip_grad_norm_, max_norm=maximum, norm_type=norm_type)
    if kind == "value":
        clip = partial(clip_grad_value_, clip_value=maximum)
    how = {"global_clipper" if kind == "full_model" else "per_param_clipper": clip}
    return _generate_optimizer_class_with_gradient_clipping(optimizer, **how)
