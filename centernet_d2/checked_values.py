"""Arguments that cannot be used: errors that name them, for all rooms."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def check_choice(name: str, value: Any, known: Collection[Any]) -> None:
    """Raise ValueError unless `value` is one of `known`."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")


def check_at_least(name: str, value: float, least: float) -> None:
    """Raise ValueError unless `value` is `least` or more (so not for NaN either)."""
    if not value >= least:
        raise ValueError(f"{name} must be {least} or more, got {value}")


def check_positive(name: str, value: float) -> None:
    """Raise ValueError unless `value` is more than 0."""
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")


def check_odd(name: str, value: int) -> None:
    """Raise ValueError unless `value` is an odd number of 1 or more."""
    if value < 1 or value % 2 == 0:
        raise ValueError(f"{name} must be odd and positive, got {value}")
