"""What a value may be, and errors that name the one that cannot be used, for all rooms."""

import argparse
import contextlib
import difflib
import math
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

_INF = math.inf


@dataclass(frozen=True)
class Rule:
    """What a config key, or an argument of a function or a command line, allows."""

    says: str  # what is allowed, after "it must be"
    accepts: Callable[[Any], bool]  # whether a value, of any type, is allowed


def one_of(*words: Any) -> Rule:
    """One of these values, of the same type."""
    says = f"one of {', '.join(map(repr, words))}" if len(words) > 1 else repr(words[0])
    return Rule(says, lambda value: any(type(value) is type(w) and value == w for w in words))


def number(
    low: float = -_INF, high: float = _INF, *, above: float = -_INF, below: float = _INF
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
            and abs(value) <= sys.float_info.max  # of NaN and infinity False, of 10**400 too
            and low <= value <= high
            and above < value < below
        ),
    )


def whole(low: int = 0, high: float = math.inf, *, odd: bool = False) -> Rule:
    """An integer in [low, high]."""
    return Rule(
        f"{'an odd' if odd else 'a whole'} number, {low} or more"
        + (f" and at most {high}" if high < math.inf else ""),
        lambda value: type(value) is int and low <= value <= high and (not odd or value % 2 == 1),
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
positive = number(above=0)
odd = whole(1, odd=True)
share = number(0, 1)


def check_value(name: str, value: Any, rule: Rule) -> None:
    """Raise ValueError unless `rule` allows `value`; numpy's numbers are taken for Python's."""
    if not rule.accepts(value.item() if hasattr(value, "item") else value):
        raise ValueError(f"{name} must be {rule.says}, got {value!r}")


def argument(rule: Rule) -> Callable[[str], Any]:
    """Return the `type` of a command line's argument: a number where it is one, or its text."""

    def read(given: str) -> Any:
        value: Any = given
        for kind in (int, float):
            with contextlib.suppress(ValueError):
                value = kind(given)
                break
        if not rule.accepts(value):
            raise argparse.ArgumentTypeError(f"{given!r}; it must be {rule.says}")
        return value

    return read


def nearest(
    word: str,
    known: Iterable[str],
    count: int = 2,
    cutoff: float = 0.6,
    *,
    key: Callable[[str], str] = str.lower,
) -> str:
    """Return " (nearest: ...)" with the known words that are like one, by their `key`, or ""."""
    by_key = {key(each): each for each in known}
    near = difflib.get_close_matches(key(word), by_key, count, cutoff)
    return f" (nearest: {', '.join(by_key[each] for each in near)})" if near else ""


def check_choice(name: str, value: Any, known: Collection[Any]) -> None:
    """Raise ValueError unless `value` is one of `known`."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")


def check_at_least(name: str, value: float, least: float) -> None:
    """Raise ValueError unless `value` is `least` or more (so not for NaN either)."""
    if not value >= least:
        raise ValueError(f"{name} must be {least} or more, got {value}")
