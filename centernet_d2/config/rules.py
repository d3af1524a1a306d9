"""What a value of the config may be: each rule has words for the error and a test of a value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Rule:
    """What a key allows."""

    says: str  # what is allowed, after "it must be"
    accepts: Callable[[Any], bool]  # whether a value, of any type, is allowed


class Key(NamedTuple):
    """A config key that this package adds: full dotted name, default, rule and meaning."""

    name: str
    default: Any
    rule: Rule
    doc: str


class Block(NamedTuple):
    """Keys of one group of the tree, and what the group is for."""

    path: str
    about: str
    keys: tuple[Key, ...]


def block(path: str, about: str, **keys: tuple[Any, Rule, str]) -> Block:
    """Return the keys `path.NAME`, each given as NAME=(default, rule, meaning)."""
    return Block(path, about, tuple(Key(f"{path}.{name}", *row) for name, row in keys.items()))


def one_of(*words: Any) -> Rule:
    """One of these values, of the same type."""
    says = f"one of {', '.join(map(repr, words))}" if len(words) > 1 else repr(words[0])
    return Rule(says, lambda value: any(type(value) is type(w) and value == w for w in words))


def number(
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: float = -math.inf,
    below: float = math.inf,
) -> Rule:
    """A finite number in [low, high], and more than `above` and less than `below`."""
    bounds = [(f"{low} or more", low), (f"more than {above}", above)]
    bounds += [(f"at most {high}", high), (f"less than {below}", below)]
    told = " and ".join(words for words, bound in bounds if math.isfinite(bound))
    return Rule(
        f"a number, {told}" if told else "a number",
        lambda value: (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and math.isfinite(value)
            and low <= value <= high
            and above < value < below
        ),
    )


def whole(low: int = 0, *, odd: bool = False) -> Rule:
    """An integer, `low` or more."""
    return Rule(
        f"{'an odd' if odd else 'a whole'} number, {low} or more",
        lambda value: type(value) is int and value >= low and (not odd or value % 2 == 1),
    )


def listed(entry: Rule, *, count: int = 0, least: int = 0, distinct: bool = False) -> Rule:
    """A list or tuple of `count` entries (0: any number, `least` or more)."""
    size = f"{count} " if count else f"{least} or more " if least else ""
    different = "different " if distinct else ""
    return Rule(
        f"a list of {size}{different}entries, each {entry.says}",
        lambda value: (
            isinstance(value, (list, tuple))
            and (len(value) == count if count else len(value) >= least)
            and all(map(entry.accepts, value))
            and not (distinct and len(set(value)) < len(value))
        ),
    )


def optional(rule: Rule) -> Rule:
    """What `rule` allows, or None."""
    return Rule(f"{rule.says}, or None", lambda value: value is None or rule.accepts(value))


flag = Rule("True or False", lambda value: isinstance(value, bool))
text = Rule("a text", lambda value: isinstance(value, str))
word = Rule("a text that is not empty", lambda value: isinstance(value, str) and bool(value))
weight = number(0)
share = number(0, 1)
size = Rule("[height, width], two whole numbers of 1 or more", listed(whole(1), count=2).accepts)
channels = whole(1)
widths = listed(channels, least=1)
norm = one_of(  # the names that detectron2 knows
    *("BN", "SyncBN", "GN", "FrozenBN", "LN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N", "")
)
