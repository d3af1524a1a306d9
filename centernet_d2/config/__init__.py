"""Config keys of this package: one table of key, default, rule and meaning.

`model_keys` and `run_keys` hold the table; `add_centernet_config` adds it to a detectron2 config,
`checks` checks the values, `files` reads YAML. docs/config.md is written from it.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from detectron2.config import CfgNode

from .model_keys import MODEL_BLOCKS
from .moved import MOVED_KEYS
from .rules import Key
from .run_keys import RUN_BLOCKS

__all__ = ["BLOCKS", "KEYS", "add_centernet_config", "flattened", "from_block", "value_of"]

Kind = TypeVar("Kind")

BLOCKS = (*MODEL_BLOCKS, *RUN_BLOCKS)
KEYS: dict[str, Key] = {key.name: key for block in BLOCKS for key in block.keys}


def add_centernet_config(cfg: CfgNode) -> None:
    """Add the keys of CornerNet, triplet CenterNet and points CenterNet to `cfg`, in place.

    Calling it twice is harmless: keys that are already there keep their values.
    """
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
    for old, new in MOVED_KEYS.items():  # for those who merge files with detectron2's own method
        if not cfg.key_is_renamed(old):
            cfg.register_renamed_key(old, new)


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
    """Build what takes the keys of a config's block by their names in lower case.

    Args:
        kind: class with explicit arguments.
        cfg: the config.
        block: such as "MODEL.CORNERNET"; has a key for every argument that is not given.
        keys: argument -> its key in the block, where that has another name.
        **given: arguments that are no keys of the block.
    """
    node, keys = value_of(cfg, block), keys or {}
    names = [name for name in inspect.signature(kind).parameters if name not in given]
    return kind(**{name: node[keys.get(name, name.upper())] for name in names}, **given)


def flattened(content: Any, prefix: str = "") -> dict[str, Any]:
    """Return dotted key -> value of nested mappings, of the leaves alone."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            found |= flattened(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
