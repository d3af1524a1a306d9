"""A bar on whatever may take longer than two seconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

SECONDS = 2.0  # what is over earlier shows none


def bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    what: str,
    unit: str = "",
    **options: Any,
) -> tqdm:
    """Return a bar on standard error that appears after two seconds, and only on a terminal.

    Args:
        iterable: what is gone through; None: whoever has the bar calls its `update`.
        total: how many steps there are, where `iterable` has no length.
        what: stands before the bar, as "image files".
        unit: of one step, as "image".
        options: further arguments of `tqdm`, for example `unit_scale`.

    The bar is wiped at its end, as the log says what came of it.
    """
    shown = {"desc": what, "unit": f" {unit}" if unit else "", "dynamic_ncols": True}
    shown |= {"delay": SECONDS, "disable": None, "leave": False}  # None: hidden without a terminal
    return tqdm(iterable, total=total, **(shown | options))
