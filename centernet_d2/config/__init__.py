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

# Keys and values of version 0.1.0 that have another name now; for one release.
_CROP = "INPUT.CENTER_CROP"
_POINTS = "MODEL.POINTS_CENTERNET"

MOVED_KEYS = {
    _CROP: f"{_CROP}.MODE",  # was a word, is a group now
    "INPUT.CROP_SCALES": f"{_CROP}.SCALES",
    "INPUT.CROP_BASE": f"{_CROP}.BASE",
    "INPUT.CROP_BORDER": f"{_CROP}.BORDER",
    "INPUT.SHIFT": f"{_CROP}.SHIFT",
    "INPUT.SCALE": f"{_CROP}.SCALE",
    "INPUT.ROTATION": f"{_CROP}.ROTATION",
    "INPUT.ROTATION_PROBABILITY": f"{_CROP}.ROTATION_PROBABILITY",
    "KITTI.ALLOW_MISSING": "DATASETS.KITTI.ALLOW_MISSING",
}
# Key -> old value -> new value.
MOVED_VALUES = {
    f"{_POINTS}.REGRESSION_NORMALIZER": {"slots": "max_objects"},
    f"{_POINTS}.BOX3D.NORMALIZER": {"slots": "max_objects"},
}

# Backbones that had no frozen stages, whatever MODEL.BACKBONE.FREEZE_AT said.
NEVER_FROZEN = {
    f"build_{name}_backbone"
    for name in ("dla", "encoder_decoder", "hourglass", "resnet_deconv", "timm")
}


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


def moved(values: dict[str, Any]) -> list[str]:
    """Return what is moved among dotted keys and their values, as sentences without a dot."""
    keys = [f"{old} is now {new}" for old, new in MOVED_KEYS.items() if old in values]
    return keys + [
        f"{key} {values[key]!r} is now {words[values[key]]!r}"
        for key, words in MOVED_VALUES.items()
        if isinstance(values.get(key), str) and values[key] in words
    ]


def translated(values: dict[str, Any]) -> dict[str, Any]:
    """Return `values` with the new names of keys and values, and what they meant."""
    renamed = {MOVED_KEYS.get(key, key): value for key, value in values.items()}
    for key, words in MOVED_VALUES.items():
        if isinstance(renamed.get(key), str):
            renamed[key] = words.get(renamed[key], renamed[key])
    if renamed.get("MODEL.BACKBONE.NAME") in NEVER_FROZEN:
        renamed["MODEL.BACKBONE.FREEZE_AT"] = 0
    return renamed
