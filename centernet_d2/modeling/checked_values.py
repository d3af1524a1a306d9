"""Values of an argument that cannot be used: errors that name it, or the config key it is from."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any


def check_choice(name: str, value: Any, known: Collection[Any]) -> None:
    """Raise ValueError unless `value` is one of `known`."""
    if value not in known:
        *first, last = map(repr, known)
        raise ValueError(f"{name} must be {', '.join(first)} or {last}, got {value!r}")


def check_at_least(name: str, value: float, least: float) -> None:
    """Raise ValueError unless `value` is `least` or more (so not for NaN either)."""
    if not value >= least:
        raise ValueError(f"{name} must be {least} or more, got {value}")


@contextmanager
def keys_named(block: str, **keys: str) -> Iterator[None]:
    """Where an error begins with the name of an argument, let it begin with its config key.

    Args:
        block: whose key has the argument's name in capitals, such as "MODEL.CORNERNET".
        **keys: argument -> its key in the block where that has another name.
    """
    try:
        yield
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        if not name.isidentifier() or not rest.startswith(("must ", "'")):
            raise
        raise ValueError(f"{block}.{keys.get(name, name.upper())} {rest}") from error
