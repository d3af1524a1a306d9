"""Arguments of detectors that cannot be used: errors that name the config key, when it is built."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def check_choice(key: str, value: Any, known: Collection[Any]) -> None:
    """Raise ValueError unless `value` is one of `known`."""
    if value not in known:
        raise ValueError(f"{key} must be one of {tuple(known)}, got {value!r}")


def check_at_least(key: str, value: float, least: float) -> None:
    """Raise ValueError unless `value` is `least` or more (so not for NaN either)."""
    if not value >= least:
        raise ValueError(f"{key} must be {least} or more, got {value}")
