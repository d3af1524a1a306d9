"""What a command logs: all of it into a file, and what a person needs onto the terminal."""

from __future__ import annotations

import functools
import logging
import os
import sys

from detectron2.utils.logger import setup_logger
from tqdm import tqdm

from .. import quiet

OURS = "centernet_d2"
NAMES = (OURS, "detectron2", "fvcore")
_COLOURS = {logging.WARNING: "33", logging.ERROR: "31"}
_added: list[logging.Handler] = []


def start_logging(folder: str = "", rank: int = 0, verbose: bool = False) -> logging.Logger:
    """Log this process's job, which takes the place of an earlier one's.

    Handlers that others gave to the loggers stay.

    Args:
        folder: everything goes into its log.txt, of other processes than the main one into
            log.txt.rank<n>; "": no file.
        rank: of the process; that of 0 alone speaks on the terminal.
        verbose: the terminal gets all that a file would.

    Returns:
        The logger of this package; the terminal shows all of its own records, of those of its
        modules warnings and what is marked as `progress.SHOWN`, without a file all.
    """
    files = _files(folder, rank) if folder else []
    handlers = [*files, *([Terminal(verbose, bool(files))] if rank == 0 else [])]
    for name in NAMES:
        logger = logging.getLogger(name)
        others = [handler for handler in logger.handlers if handler not in _added]
        logger.handlers[:] = others + handlers
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
    _added[:] = handlers
    quiet.pass_on(handlers)
    return logging.getLogger(OURS)


@functools.cache
def _files(folder: str, rank: int) -> list[logging.Handler]:
    """Return detectron2's handler of a log file.

    The calls are those of its `default_setup`, where they do nothing a second time: what they add
    for the terminal, in colours for a pipe too, is taken away again.
    """
    for name, given in (("fvcore", {"name": "fvcore"}), ("detectron2", {})):
        logger = logging.getLogger(name)
        before = list(logger.handlers)
        setup_logger(folder, distributed_rank=rank, **given)
        added = [handler for handler in logger.handlers if handler not in before]
        logger.handlers[:] = before
    return added[-1:]


class Terminal(logging.Handler):
    """Writes to this process's standard output, beside a bar that may be there.

    A log line goes through tqdm, as by its `logging_redirect_tqdm`, which would swap the handlers.
    """

    def __init__(self, verbose: bool, has_file: bool) -> None:
        super().__init__()
        self.verbose, self.has_file = verbose, has_file

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the terminal shows a record."""
        if self.verbose or getattr(record, "shown", False) or record.name == OURS:
            return super().filter(record)
        level = logging.WARNING if self.has_file else logging.INFO
        return record.name.startswith(f"{OURS}.") and record.levelno >= level

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            tqdm.write(self.format(record), file=sys.stdout)
            sys.stdout.flush()
        except Exception:
            self.handleError(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the message; a trace is in the file."""
        text = record.getMessage()
        if self.verbose:
            text = f"[{logging.Formatter().formatTime(record, '%H:%M:%S')} {record.name}] {text}"
        if record.levelno < logging.WARNING:
            return text
        return f"{coloured(record.levelname.lower(), record.levelno)}: {text}"


def coloured(text: str, level: int) -> str:
    """Colour a word by the level of its record: on a terminal, unless NO_COLOR is set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{_COLOURS.get(level, '31')}m{text}\x1b[0m"
