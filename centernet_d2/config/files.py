"""YAML files and overrides into a config, with an error for each key or value that does not fit."""

from __future__ import annotations

import ast
import contextlib
import difflib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import yaml
from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager
from fvcore.common.config import BASE_KEY

from ..detectron2_versions import KEYS_OF_MAIN, VERSION
from . import flattened, moved, translated
from .checks import RULES, wrong_value

logger = logging.getLogger(__name__)

# A config.yaml that a run has saved has all of these; a file written by hand never has.
SAVED = {
    *("VERSION", "MODEL", "INPUT", "DATASETS", "DATALOADER", "SOLVER", "TEST", "OUTPUT_DIR"),
    *("SEED", "CUDNN_BENCHMARK", "VIS_PERIOD", "GLOBAL"),
}
OWN_KEYS = (
    "For a key of your own call load_config(..., add_keys=[add_mine]), where add_mine(cfg) adds "
    "it, or give the tools --import file.py before the keys, whose add_config(cfg) does"
)


class Level(NamedTuple):
    """What one file, or the overrides, set: dotted key -> value."""

    source: str  # "<path>: " or, of overrides, ""
    values: dict[str, Any]
    is_saved: bool = False


def read_levels(path: str) -> list[Level]:
    """Read the YAML file at `path` and its `_BASE_` files, base first.

    The YAML may not construct Python objects, so a config file cannot run code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no mapping.
    """
    if not PathManager.isfile(path):
        raise FileNotFoundError(f"Config file '{path}' does not exist. Check --config-file.")
    with PathManager.open(path) as file:
        content = yaml.safe_load(file) or {}
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: a config file holds keys and values, this one {content!r:.60}.")
    content = dict(content)
    bases = content.pop(BASE_KEY, [])
    levels = []
    for base in [bases] if isinstance(bases, str) else bases:
        remote = base.startswith(("http://", "https://"))
        folder = os.path.dirname(path)
        levels += read_levels(base if remote else os.path.join(folder, os.path.expanduser(base)))
    return [*levels, Level(f"{path}: ", flattened(content), is_saved=set(content) >= SAVED)]


def override_level(overrides: Sequence[Any]) -> Level:
    """Return KEY VALUE KEY VALUE ... as a level; DATASETS.TRAIN and TEST may be one name."""
    if len(overrides) % 2:
        raise ValueError(f"Overrides come in pairs KEY VALUE; '{overrides[-1]}' has no value.")
    pairs = zip(overrides[::2], overrides[1::2], strict=True)
    return Level("", {key: _one_name(key, value) for key, value in pairs})


def merge_level(cfg: CfgNode, level: Level) -> None:
    """Merge the keys of a level into `cfg`, in place.

    Keys of detectron2's main branch that the installed version lacks are dropped with a warning. So
    are moved keys translated in a file that a run has saved.

    Raises:
        KeyError: a key is moved, or not known; the message names the nearest ones.
        ValueError: a value is of another type than its key.
    """
    known = flattened(cfg)
    blocks = {key.rpartition(".")[0] for key in known}
    # A block without a key in it, "SOLVER:", says nothing.
    values = {k: v for k, v in level.values.items() if not (v is None and k in blocks)}
    source = level.source
    if renamed := "; ".join(moved(values)):
        if not level.is_saved:
            raise KeyError(f"{source}{renamed}.")
        logger.warning("%sit was saved by an earlier version, and is read so: %s.", source, renamed)
        values = translated(values)
    if dropped := [key for key in KEYS_OF_MAIN if key in values and key not in known]:
        names = ", ".join(dropped)
        logger.warning("%sdetectron2 %s has no %s; not used.", source, VERSION, names)
    left = {key: value for key, value in values.items() if key not in dropped}
    if unknown := [key for key in left if key not in known and not _takes_any_key(cfg, key)]:
        raise KeyError(f"{source}{unknown_keys(unknown, known)}")
    for key, value in left.items():
        _merge(cfg, key, value, known.get(key), source)


def unknown_keys(unknown: Sequence[str], known: Iterable[str]) -> str:
    """Return the error for keys that no config has, with the nearest of the `known` ones."""
    near = {key: ", ".join(nearest_keys(key, list(known))) for key in unknown[:5]}
    told = [f"{key} is no key" + f" (nearest: {keys})" * bool(keys) for key, keys in near.items()]
    more = f"; {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return f"{'; '.join(told)}{more}. Correct it. {OWN_KEYS}."


def nearest_keys(key: str, known: Sequence[str]) -> list[str]:
    """Return up to three known keys that `key` may have meant.

    Those of the same name in another group come first, then those of a similar path, then those of
    a similar name.
    """
    key = key.upper()
    name = key.rpartition(".")[2]
    of_name: dict[str, list[str]] = {}
    for each in known:
        of_name.setdefault(each.rpartition(".")[2], []).append(each)
    found = difflib.get_close_matches(key, of_name.get(name, []), 3, 0.0)
    found += difflib.get_close_matches(key, known, 3, 0.7)
    for similar in difflib.get_close_matches(name, of_name, 3, 0.75):
        found += difflib.get_close_matches(key, of_name[similar], 3, 0.0)
    return list(dict.fromkeys(found))[:3]


def _merge(cfg: CfgNode, key: str, value: Any, default: Any, source: str) -> None:
    nested = _as_float(value) if isinstance(default, float) else value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    try:
        cfg.merge_from_other_cfg(CfgNode(nested))
    except (ValueError, AssertionError) as error:  # another type
        kind = type(default).__name__
        told = f"{key} is {value!r}; it must be of type {kind}."
        raise ValueError(f"{source}{wrong_value(key, value) if key in RULES else told}") from error


def _as_float(value: Any) -> Any:
    """The float of an integer, which may be a text; anything else as it is."""
    with contextlib.suppress(ValueError, SyntaxError):
        number = ast.literal_eval(value) if isinstance(value, str) else value
        return float(number) if type(number) is int else value
    return value


def _takes_any_key(cfg: CfgNode, key: str) -> bool:
    """Whether the block that `key` would stand in was made with `new_allowed`."""
    for part in key.split(".")[:-1]:
        if not isinstance(cfg.get(part), CfgNode):
            break
        cfg = cfg[part]
    return bool(cfg.is_new_allowed())


def _one_name(key: str, value: Any) -> Any:
    """Make a tuple of a single dataset name: "coco:a.json:b" for "('coco:a.json:b',)"."""
    is_name = key in ("DATASETS.TRAIN", "DATASETS.TEST") and isinstance(value, str)
    if not is_name or value.lstrip().startswith(("(", "[")):
        return value
    return (value,) if value else ()
