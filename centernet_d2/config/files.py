"""YAML files and overrides into a config, with an error for each key or value that does not fit."""

import ast
import contextlib
import difflib
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import yaml
from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager
from fvcore.common.config import BASE_KEY

from ..detectron2_versions import KEYS_OF_MAIN, VERSION
from ..text_files import expanded, output_folder, read_text
from . import flattened
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
# What `ast.literal_eval`, yacs's too, raises for a text.
_NO_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


class Level(NamedTuple):
    """What one file, or the overrides, set: dotted key -> value."""

    source: str  # "<path>: " or, of overrides, ""
    values: dict[str, Any]
    is_saved: bool = False


class _Loader(yaml.SafeLoader):
    """Safe YAML: a key twice in a mapping is an error, 1e-4 a number and 2026-01-31 a text."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in lines:
                told = f"'{key.value}' stands in line {lines[key.value]} already"
                raise yaml.MarkedYAMLError(problem=told, problem_mark=key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        return node


_Loader.yaml_implicit_resolvers = {
    sign: [each for each in known if not each[0].endswith(":timestamp")]
    for sign, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_FLOAT = re.compile(r"[-+]?(\d[\d_]*\.?|\.\d)[\d_]*[eE][-+]?\d+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def read_levels(path: str, named_by: Sequence[str] = ()) -> list[Level]:
    """Read the YAML file at `path` and its `_BASE_` files, base first; it cannot run code.

    `named_by` are the files whose `_BASE_` led here. What is no such file is a FileNotFoundError,
    what is no YAML of keys and values, or leads back to itself, a ValueError.
    """
    chain = [*named_by, path]
    if not PathManager.isfile(path):
        source = f"_BASE_ of '{named_by[-1]}'" if named_by else "--config-file"
        raise FileNotFoundError(f"Config file '{path}' does not exist. Check {source}.")
    if os.path.realpath(path) in map(os.path.realpath, named_by):
        raise ValueError(f"_BASE_ leads in a circle: {' -> '.join(chain)}. Remove one of them.")
    content = read_yaml(path)
    bases = content.pop(BASE_KEY, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ValueError(f"{path}: _BASE_ is {bases!r}; it must be a path or a list of paths.")
    levels = []
    for base in bases:
        remote = base.startswith(("http://", "https://"))
        place = base if remote else os.path.join(os.path.dirname(path), expanded(base))
        levels += read_levels(place, chain)
    return [*levels, Level(f"{path}: ", flattened(content), is_saved=set(content) >= SAVED)]


def read_yaml(path: str, text: str | None = None) -> dict[str, Any]:
    """Return the content of a YAML file, or `text`; or raise ValueError with its name and place."""
    if path.endswith(".py"):
        raise ValueError(f"{path} is Python, a LazyConfig: only `centernet-d2 train` takes these.")
    try:
        content = yaml.load(read_text(path) if text is None else text, _Loader)
        flattened(content if isinstance(content, dict) else {})  # for its errors
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        told = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ValueError(
            f"{path}: {line}{told}. Correct the YAML: indented with blanks, each key once, texts "
            "with special signs in quotes, no alias (*name) of itself."
        ) from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: a config file holds keys and values, this one {content!r:.60}.")
    return content


def override_level(overrides: Sequence[Any]) -> Level:
    """Return KEY VALUE KEY VALUE ... as a level; DATASETS.TRAIN and TEST may be one name."""
    if isinstance(overrides, (str, Mapping)) or not all(isinstance(k, str) for k in overrides[::2]):
        raise ValueError(f"Overrides are a list of KEY, VALUE, KEY, VALUE ..., not {overrides!r}.")
    if len(overrides) % 2:
        raise ValueError(f"Overrides come in pairs KEY VALUE; '{overrides[-1]}' has no value.")
    pairs = zip(overrides[::2], overrides[1::2], strict=True)
    return Level("", {key: _one_name(key, value) for key, value in pairs})


def expand_paths(cfg: CfgNode) -> None:
    """Expand "~" and variables in the paths of `cfg`, in place, as `expanded` and its kin do."""
    if isinstance(cfg.OUTPUT_DIR, str):  # `check_values` tells what is none
        cfg.OUTPUT_DIR = output_folder(cfg.OUTPUT_DIR, "OUTPUT_DIR: ")
    names = ("TRAIN", "TEST", "FROM_FILES")
    for node, name in ((cfg.MODEL, "WEIGHTS"), *((cfg.DATASETS, name) for name in names)):
        value = node[name]
        if isinstance(value, str):
            node[name] = expanded(value)
        elif isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
            node[name] = type(value)(map(expanded, value))


def merge_level(cfg: CfgNode, level: Level) -> None:
    """Merge the keys of a level into `cfg`, in place.

    Keys that only detectron2's main branch has are dropped with a warning; other unknown keys are a
    KeyError, values of other types a ValueError.
    """
    known = flattened(cfg)
    blocks = {key.rpartition(".")[0] for key in known}
    # A block without a key in it, "SOLVER:", says nothing.
    values = {k: v for k, v in level.values.items() if not (v is None and k in blocks)}
    source = level.source
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
    for key in unknown:
        if any(each.startswith(f"{key}.") for each in known):
            return f"{key} is a group of keys, and takes no value itself. Indent its keys below it."
    near = {key: ", ".join(nearest_keys(key, list(known))) for key in unknown[:5]}
    told = [f"{key} is no key" + f" (nearest: {keys})" * bool(keys) for key, keys in near.items()]
    more = f"; {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return f"{'; '.join(told)}{more}. Correct it. {OWN_KEYS}."


def nearest_keys(key: str, known: Sequence[str]) -> list[str]:
    """Return up to three known keys: of the same name, of a similar path, of a similar name."""
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
    nested = _as_kind(value, default)
    for part in reversed(key.split(".")):
        nested = {part: nested}
    try:
        cfg.merge_from_other_cfg(CfgNode(nested))
    except (*_NO_LITERAL, AssertionError) as error:  # another type
        told = f"{key} is {value!r}; it must be of type {type(default).__name__}."
        told = wrong_value(key, value) if key in RULES else told
        quotes = " Put it in quotes." * (isinstance(default, str) and bool(source))
        raise ValueError(f"{source}{told}{quotes}") from error


def _as_kind(value: Any, default: Any) -> Any:
    """What yacs reads as the float of an integer, or as a text; anything else as it is."""
    inner = value
    with contextlib.suppress(*_NO_LITERAL, OverflowError):
        inner = ast.literal_eval(value) if isinstance(value, str) else value
        if isinstance(default, float) and type(inner) is int:
            return float(inner)
    if isinstance(default, str) and isinstance(value, str):
        return repr(inner if isinstance(inner, str) else value)  # 2024 is no number here
    return value


def _takes_any_key(cfg: CfgNode, key: str) -> bool:
    """Whether the block that `key` would stand in was made with `new_allowed`."""
    for part in key.split(".")[:-1]:
        if not isinstance(cfg.get(part), CfgNode):
            break
        cfg = cfg[part]
    return bool(cfg.is_new_allowed())


def _one_name(key: str, value: Any) -> Any:
    """Make a tuple of a single dataset name: "coco:a.json:b" for "('coco:a.json:b',)".

    And a list of the classes "a,b".
    """
    if key == "DATASETS.CLASSES" and isinstance(value, str) and not value.startswith(("(", "[")):
        return [name.strip() for name in value.split(",") if name.strip()]
    is_name = key in ("DATASETS.TRAIN", "DATASETS.TEST") and isinstance(value, str)
    if not is_name or value.lstrip().startswith(("(", "[")):
        return value
    return (value,) if value else ()
