"""A detector made ready to predict fast: norms folded away, and half the digits where asked."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..checked_values import check_choice
from ..layers.blocks import PredictionBranch
from .fuse import fold_batch_norm, fuse_additions

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@torch.no_grad()
def make_fast(model: nn.Module, *, fold: bool = True, dtype: str = "float32") -> nn.Module:
    """Change a detector in place into one that only predicts, and faster; return it.

    Training it, or loading a checkpoint into it, is over: make it fast after loading. Detections
    are those of the model as it was, up to rounding: of float32 for "float32"; for "bfloat16" the
    features have 8 significant bits, and only the last layer of each branch, whose output is
    decoded, computes in float32.

    Args:
        model: a detector in eval mode (`backbone`, `head`, `in_features`, `divisor`, `pixel_mean`).
        fold: fold batch norms into the convolutions before them; on a CPU these also apply ReLU
            and add shortcuts (`layers.fused_conv`).
        dtype: of backbone and head, "float32", "bfloat16" or "float16".
    """
    if model.training:
        raise ValueError("make_fast needs a model in eval mode: call model.eval() first")
    check_choice("dtype", dtype, DTYPES)
    if fold:
        shape = (1, len(model.pixel_mean), 2 * model.divisor, 2 * model.divisor)
        images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(model.device)
        fold_batch_norm(model.backbone, images)
        outputs = model.backbone(images)
        features = [outputs[name] for name in model.in_features]
        fold_batch_norm(model.head, features)
        if model.device.type == "cpu":
            fuse_additions(model.backbone, images)
            fuse_additions(model.head, features)
    if dtype != "float32":
        _lower_precision(model, DTYPES[dtype])
        if hasattr(model, "protocol"):  # which is printed beside the scores
            model.protocol = replace(model.protocol, dtype=dtype)
    return model


def _lower_precision(model: nn.Module, dtype: torch.dtype) -> None:
    model.backbone.to(dtype)
    model.backbone.register_forward_pre_hook(partial(_cast, dtype))
    model.head.to(dtype)
    for branch in model.head.modules():
        if isinstance(branch, PredictionBranch):
            # In half precision neighbouring cells often tie, and each of them would be a peak.
            branch.last_layer.float().register_forward_pre_hook(partial(_cast, torch.float32))


def _cast(dtype: torch.dtype, module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Tensor]:
    """Change the dtype of a module's input; no inner function, so that models can be pickled."""
    return (arguments[0].to(dtype),)
