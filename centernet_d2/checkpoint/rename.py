"""Rename a published state dict into this package's names by one table, checked as a bijection.

A table says what becomes of every key: renamed, or dropped with a reason. Applying it fails loudly
where a key is left over, claimed twice, missing or misshaped, because a network that loads half its
weights still runs and only gives poor results.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .unwrap import shorten

SHOWN_KEYS = 20  # of each list in an error's text; the error object carries all


@dataclass(frozen=True)
class Rename:
    """Source keys that match `pattern` as a whole become `replacement`, with groups as in `re`."""

    pattern: str
    replacement: str


def renames(table: str) -> tuple[Rename, ...]:
    """Rules from pairs of names, the published one and the one here, with white space between.

    `#` stands for a number, `*` for one part of a name, `**` for one or more parts; the same signs
    stand in the same order in both names. So do lists `{a,b}`, whose entries belong together.
    """
    names = table.split()
    return tuple(
        _rule(*names_of_one)
        for pair in zip(names[::2], names[1::2], strict=True)
        for names_of_one in _expanded(*pair)
    )


_SIGNS = {"**": r"(.+)", "*": r"(\w+)", "#": r"(\d+)"}
_SIGN = re.compile(r"\*\*|\*|#")


def _rule(published: str, here: str) -> Rename:
    numbers = itertools.count(1)
    pattern = _SIGN.sub(lambda sign: _SIGNS[sign[0]], published.replace(".", r"\."))
    return Rename(pattern, _SIGN.sub(lambda _: rf"\{next(numbers)}", here))


def _expanded(published: str, here: str) -> list[tuple[str, str]]:
    """One pair of names for each entry of the first list, and so on for the lists after it."""
    if "{" not in published:
        return [(published, here)]
    pieces = [re.fullmatch(r"(.*?){(.*?)}(.*)", name).groups() for name in (published, here)]
    (start, entries, end), (start_here, entries_here, end_here) = pieces
    return [
        pair
        for entry in zip(entries.split(","), entries_here.split(","), strict=True)
        for pair in _expanded(f"{start}{entry[0]}{end}", f"{start_here}{entry[1]}{end_here}")
    ]


@dataclass(frozen=True)
class Drop:
    """Source keys that match `pattern` as a whole are left out, for a stated reason."""

    pattern: str
    reason: str


@dataclass(frozen=True)
class Keep:
    """Target keys that match `pattern` may be absent from the source: the model keeps its own.

    `fill` stands for them where a whole file is written. None: parts that start anew (a network
    that is only initialised by the source).
    """

    pattern: str
    reason: str
    fill: float | None = None


@dataclass(frozen=True)
class RenameTable:
    """All rules for the files of one source, whose keys must each match exactly one of them."""

    name: str
    rules: tuple[Rename | Drop, ...]
    kept: tuple[Keep, ...] = ()


@dataclass(frozen=True)
class Renamed:
    """What a table made of a state dict."""

    state_dict: dict[str, Tensor]  # target key -> tensor, the tensors of the source
    dropped: dict[str, str] = field(default_factory=dict)  # source key -> reason
    kept: dict[str, str] = field(default_factory=dict)  # target key -> reason
    filled: dict[str, Tensor] = field(default_factory=dict)  # those of `kept` with a `fill`


class RenameError(ValueError):
    """A state dict and a table, or a model, do not fit: `problems` -> the full list of keys."""

    def __init__(self, table_name: str, problems: Mapping[str, list[str]]) -> None:
        self.table_name = table_name
        self.problems = dict(problems)
        parts = [
            f"rename table {table_name!r} does not fit; is this the checkpoint of another network?"
        ]
        for what, keys in self.problems.items():
            parts.append(f"{what} ({len(keys)}): {shorten(keys, SHOWN_KEYS)}")
        super().__init__("\n  ".join(parts))


def rename_state_dict(
    source: Mapping[str, Tensor], table: RenameTable, target: Mapping[str, Tensor]
) -> Renamed:
    """Give every tensor of `source` the name that the model's state dict `target` knows it by.

    `source` is unwrapped; of `target` only names and shapes are read. Tensors are not copied.

    Raises:
        RenameError: a source key no rule or several rules match, two source keys with one target,
            a target key that nothing fills, a renamed key the target lacks, or another shape.
    """
    problems: dict[str, list[str]] = defaultdict(list)
    new_names, dropped = _new_names(source, table.rules, problems)
    sources_of = defaultdict(list)
    for key, name in new_names.items():
        sources_of[name].append(key)
    for name, keys in sources_of.items():
        if len(keys) > 1:
            problems["target filled twice"].append(f"{name} by {' and '.join(keys)}")
        elif name not in target:
            problems["unexpected, the model has no such parameter"].append(f"{keys[0]} -> {name}")
        elif source[keys[0]].shape != target[name].shape:
            shapes = f"{tuple(source[keys[0]].shape)}, model {tuple(target[name].shape)}"
            problems["shape differs"].append(f"{keys[0]} -> {name} {shapes}")
    kept = {}
    for name in (name for name in target if name not in sources_of):
        rule = next((rule for rule in table.kept if re.fullmatch(rule.pattern, name)), None)
        if rule is None:
            problems["missing from the checkpoint"].append(name)
        else:
            kept[name] = rule
    if problems:
        raise RenameError(table.name, problems)
    renamed = {name: source[key] for key, name in new_names.items()}
    reasons = {name: rule.reason for name, rule in kept.items()}
    filled = {
        name: torch.full_like(target[name], rule.fill, device="cpu")
        for name, rule in kept.items()
        if rule.fill is not None
    }
    return Renamed(renamed, dropped, reasons, filled)


def rename_names(source: Mapping[str, Tensor], table: RenameTable) -> dict[str, Tensor]:
    """Rename without a model to check against, where the table fits more than one.

    Raises:
        RenameError: a source key no rule or several rules match.
    """
    problems: dict[str, list[str]] = defaultdict(list)
    new_names, _ = _new_names(source, table.rules, problems)
    if problems:
        raise RenameError(table.name, problems)
    return {name: source[key] for key, name in new_names.items()}


def _new_names(
    keys: Iterable[str], rules: tuple[Rename | Drop, ...], problems: dict[str, list[str]]
) -> tuple[dict[str, str], dict[str, str]]:
    new_names, dropped = {}, {}
    for key in keys:
        matches = [(rule, match) for rule in rules if (match := re.fullmatch(rule.pattern, key))]
        if not matches:
            problems["known to no rule"].append(key)
        elif len(matches) > 1:
            patterns = " and ".join(rule.pattern for rule, _ in matches)
            problems["claimed by several rules"].append(f"{key} by {patterns}")
        elif isinstance(matches[0][0], Drop):
            dropped[key] = matches[0][0].reason
        else:
            rule, match = matches[0]
            new_names[key] = match.expand(rule.replacement)
    return new_names, dropped
