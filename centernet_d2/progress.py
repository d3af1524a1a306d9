"""What whoever waits at a terminal is shown: a bar, and the lines of the log that are marked."""

import contextlib
import functools
import logging
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

logger = logging.getLogger(__name__)


class Bar(tqdm):
    """tqdm with a lock for threads alone; its own is one of processes, and leaks as they end."""


Bar.set_lock(threading.RLock())
SECONDS = 2.0  # what is over earlier shows no bar
SHOWN = {"shown": True}  # the `extra` of a log record that the terminal of a command shows too


_said: dict[str, object] = {}


def say(message: str) -> None:
    """Tell a choice that was made for the user, in one line and once, by whichever thread."""
    mine = object()
    if _said.setdefault(message, mine) is mine:
        logger.info("%s", message, extra=SHOWN)


@functools.cache
def tell_once(message: str) -> None:
    """Warn; once in a process of the same."""
    logger.warning(message)


def say_again() -> None:
    """Let `say` tell all of it anew, to whoever collects what is said."""
    _said.clear()


def bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    what: str,
    unit: str = "",
    **options: Any,
) -> Bar:
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
    return Bar(iterable, total=total, **(shown | options))


@contextlib.contextmanager
def clock(what: str) -> Iterator[None]:
    """Show the seconds that the block takes so far, where its steps cannot be counted."""
    with bar(what=what, bar_format="{desc}: {elapsed}") as shown:
        if shown.disable:
            yield
            return
        over = threading.Event()

        def tick() -> None:
            if not over.wait(SECONDS):
                while not over.wait(0.5):
                    shown.refresh()

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            shown.display("")
