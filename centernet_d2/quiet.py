"""What other packages say while they are imported, held back for the log.

torch and detectron2 warn of deprecated functions and of a machine without CUDA before there is any
log; on a terminal that looks like a fault of the command. Standard library alone: it comes first.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

# Python's warnings, and the one logger of torch that speaks while it is imported.
LOGGERS = ("py.warnings", "torch.utils.cpp_extension")
_IN_CHILDREN = "CENTERNET_D2_QUIET"  # variable of the environment, which started processes inherit
_held: list[logging.LogRecord] = []
_is_command = False


def hold_back() -> None:
    """From now on keep what is said; for the process of a command, before torch is imported."""
    global _is_command
    _is_command, os.environ[_IN_CHILDREN] = True, "1"
    logging.captureWarnings(True)
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_keep)


def hold_back_as_parent() -> None:
    """Do so where the process that started this one does."""
    if _IN_CHILDREN in os.environ:
        hold_back()


def _keep(record: logging.LogRecord) -> bool:
    _held.append(record)
    return False


def pass_on(handlers: Iterable[logging.Handler]) -> None:
    """Give these handlers what was held back, and what is said from now on.

    Where `hold_back` was not called, warnings and loggers are an application's own affair.
    """
    if not _is_command:
        return
    handlers = [*handlers, logging.NullHandler()]
    for logger in map(logging.getLogger, LOGGERS):
        logger.removeFilter(_keep)
        logger.propagate, logger.handlers[:] = False, handlers
    for record in _held:
        for handler in handlers:
            handler.handle(record)
    _held.clear()
