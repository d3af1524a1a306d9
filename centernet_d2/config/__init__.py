"""Config keys of this package: one table of key, default, rule and meaning, see docs/config.md.

`model_keys` and `run_keys` hold the table, `checks` checks the values, `files` reads YAML.
"""

import copy
import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from detectron2.config import CfgNode

from .model_keys import MODEL_BLOCKS
from .rules import Key
from .run_keys import RUN_BLOCKS

__all__ = ["BLOCKS", "KEYS", "add_centernet_config", "flattened", "from_block", "value_of"]

Kind = TypeVar("Kind")

BLOCKS = (*MODEL_BLOCKS, *RUN_BLOCKS)
KEYS: dict[str, Key] = {key.name: key for block in BLOCKS for key in block.keys}


def add_centernet_config(cfg: CfgNode) -> None:
    """Add the keys of this package to `cfg`, in place; those that are there keep their values."""
    if "HEATMAP" not in cfg.MODEL:
        # All recipes here train the whole backbone; detectron2's default freezes two stages.
        cfg.MODEL.BACKBONE.FREEZE_AT = 0
    for key in KEYS.values():
        *groups, name = key.name.split(".")
        node = cfg
        for group in groups:
            node = node.setdefault(group, CfgNode())
        if name not in node:
            node[name] = copy.deepcopy(key.default)


def value_of(cfg: CfgNode, key: str) -> Any:
    """Return the value of a dotted key."""
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def from_block(
    kind: type[Kind],
    cfg: CfgNode,
    block: str,
    keys: Mapping[str, str] | None = None,
    **given: Any,
) -> Kind:
    """Build what takes the keys of a config's block ("MODEL.CORNERNET") by their lower-case names.

    `keys` maps arguments to keys of another name; `given` are arguments that are no keys.
    """
    node, keys = value_of(cfg, block), keys or {}
    names = [name for name in inspect.signature(kind).parameters if name not in given]
    return kind(**{name: node[keys.get(name, name.upper())] for name in names}, **given)


def flattened(content: Any, prefix: str = "") -> dict[str, Any]:
    """Return dotted key -> value of nested mappings, of the leaves alone; "A.B" is A's B."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        key = f"{prefix}{name}"
        more = flattened(value, f"{key}.") if isinstance(value, dict) else {key: value}
        if twice := found.keys() & more:
            raise ValueError(f"{min(twice)} is set twice")
        found |= more
    return found
