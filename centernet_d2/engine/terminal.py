"""What a command logs: all of it into a file, and what a person needs onto the terminal."""

import functools
import logging
import sys

from detectron2.utils.logger import setup_logger

from .. import quiet
from ..progress import Bar

OURS = "centernet_d2"
_added: list[logging.Handler] = []


def start_logging(folder: str = "", rank: int = 0, verbose: bool = False) -> logging.Logger:
    """Log this process's job, in place of an earlier one's; handlers of others stay.

    All goes into `folder`/log.txt, of a process with another rank than 0 into log.txt.rank<n>; "":
    no file. The terminal, of rank 0 alone, has no colours and gets of this package warnings, what
    is marked as `progress.SHOWN` and all of the logger that is returned; without a file all of the
    package, and where `verbose` all that there is.
    """
    handlers = [*_files(folder, rank)] if folder else []
    if rank == 0:
        handlers.append(Terminal(verbose, logging.WARNING if folder else logging.INFO))
    for name in (OURS, "detectron2", "fvcore"):
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

    Called as by its `default_setup`, which then adds no second one for the terminal, in colours.
    """
    for name, given in (("fvcore", {"name": "fvcore"}), ("detectron2", {})):
        logger = logging.getLogger(name)
        before = list(logger.handlers)
        setup_logger(folder, distributed_rank=rank, **given)
        added = [handler for handler in logger.handlers if handler not in before]
        logger.handlers[:] = before
    return added[-1:]


class Terminal(logging.Handler):
    """Writes to standard output, through tqdm: as its `logging_redirect_tqdm` beside a bar."""

    def __init__(self, verbose: bool, least: int) -> None:
        super().__init__()
        self.verbose, self.least = verbose, least

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message of a record that is for the terminal; a trace is in the file."""
        ours = record.name == OURS or (
            record.name.startswith(f"{OURS}.") and record.levelno >= self.least
        )
        if not (ours or self.verbose or getattr(record, "shown", False)):
            return
        kind = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        try:
            Bar.write(kind + record.getMessage(), file=sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:  # `| head` has read enough; the work goes on, and the log
            quiet.discard_output()
        except Exception:
            self.handleError(record)
