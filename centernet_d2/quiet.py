"""What other packages say while they are imported, held back for the log.

torch and detectron2 warn of deprecated functions and of a machine without CUDA before there is any
log; on a terminal that looks like a fault of the command. Standard library alone: it comes first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Sequence

# Python's warnings; of torch what speaks while it is imported, and where a job of several fails.
LOGGERS = ("py.warnings", "torch.utils.cpp_extension", "torch.multiprocessing.spawn")
IN_CHILDREN = "CENTERNET_D2_QUIET"  # of the environment, which started processes inherit
_held: list[logging.LogRecord] = []


def hold_back() -> None:
    """From now on keep what is said; for a command and what it starts, before torch comes."""
    os.environ[IN_CHILDREN] = str(os.getpid())
    logging.captureWarnings(True)
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_keep)


def _keep(record: logging.LogRecord) -> bool:
    _held.append(record)
    return False


def pass_on(handlers: Sequence[logging.Handler]) -> None:
    """Give these handlers what was held back, and what is said later; without `hold_back` none."""
    if os.environ.get(IN_CHILDREN) != str(os.getpid()):
        return
    for logger in map(logging.getLogger, LOGGERS):
        logger.removeFilter(_keep)
        logger.propagate, logger.handlers[:] = False, [*handlers, logging.NullHandler()]
    for handler in handlers:
        for record in _held:
            handler.handle(record)
    _held.clear()


def discard_output() -> None:
    """Let standard output go nowhere, where its reader is gone; at exit too nothing is raised."""
    with contextlib.suppress(AttributeError, OSError):  # no file of the system
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
