"""What was given by hand beats what is computed: iterations beat epochs.

A run's length, steps and periods have two keys each: iterations, given by hand, and epochs, from
which iterations are computed. The epochs win where both are set, so a key in iterations that is set
over a config in epochs empties its partner.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import yaml
from detectron2.utils.file_io import PathManager
from fvcore.common.config import BASE_KEY

PARTNERS = {
    "SOLVER.MAX_ITER": "SOLVER.EPOCHS",
    "SOLVER.STEPS": "SOLVER.EPOCH_STEPS",
    "TEST.EVAL_PERIOD": "TEST.EVAL_EPOCHS",
    "SOLVER.CHECKPOINT_PERIOD": "SOLVER.CHECKPOINT_EPOCHS",
}


def overridden_epoch_keys(levels: Iterable[Collection[str]]) -> list[str]:
    """Return the keys in epochs that the keys in iterations replace.

    Args:
        levels: the keys that each level sets itself, base first: files, then the command line.
    """
    replaced: dict[str, bool] = {}
    for level in levels:
        for by_hand, in_epochs in PARTNERS.items():
            if in_epochs in level:
                replaced[in_epochs] = False
            elif by_hand in level:
                replaced[in_epochs] = True
    return [key for key, is_replaced in replaced.items() if is_replaced]


def file_levels(path: str) -> list[set[str]]:
    """Return the keys that the YAML file at `path` and its `_BASE_` files set, base first."""
    with PathManager.open(path) as file:
        content = yaml.safe_load(file) or {}
    bases = content.pop(BASE_KEY, [])
    folder = os.path.dirname(path)
    levels = []
    for base in [bases] if isinstance(bases, str) else bases:
        remote = base.startswith(("http://", "https://"))
        levels += file_levels(base if remote else os.path.join(folder, os.path.expanduser(base)))
    return [*levels, set(_dotted(content))]


def _dotted(content: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in content.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")
