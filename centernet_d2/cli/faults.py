"""How a verb that fails ends: one sentence on the terminal, the trace in the log."""

import errno
import logging
import sys
import traceback

from .. import quiet

# What this package, or the system, raises to say what is wrong and how to cure it.
TOLD = (ValueError, OSError, KeyError, ImportError, FloatingPointError)
# What to do where the system refuses a file.
CURES = {
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "give a place with write access"),
    errno.ENOSPC: "free some space, or give a place that has it",
    errno.ENOENT: "correct the path",
    errno.ENOTDIR: "a part of the path is a file: correct it",
}


def report(verb: str, error: BaseException, *, trace: bool = False) -> int:
    """Say on stderr why a verb ended; return its exit status, see `cli`.

    `trace` also shows where; otherwise that is in the log file, where a verb writes one.
    """
    if isinstance(error, KeyboardInterrupt):
        print("\n".join(["Stopped.", *getattr(error, "__notes__", ())]), file=sys.stderr)
        return 130
    if isinstance(error, BrokenPipeError) and not can_print():
        return 0  # `| head` has read enough
    in_log = write_to_log(error)
    if trace:
        traceback.print_exception(error)
    else:
        where = "the trace is in the log" if in_log else "see where by --traceback"
        print(f"centernet-d2 {verb}: {sentence(error, where)}", file=sys.stderr)
    return 1


def can_print() -> bool:
    """Whether somebody still reads what is printed; if not, nothing more is."""
    try:
        print(end="", flush=True)
    except BrokenPipeError:
        quiet.discard_output()
        return False
    return True


def sentence(error: BaseException, where: str) -> str:
    """Return what an error says; of one that nobody foresaw also its kind, and where it arose."""
    kind, told = type(error).__name__, isinstance(error, TOLD)
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if kind == "ProcessRaisedException":  # torch's: the trace of a process that was started
        kind, _, text = text.rstrip().rpartition("\n")[2].partition(": ")
        told = kind in {known.__name__ for known in TOLD}
    if isinstance(error, OSError) and error.strerror and error.errno:  # the system's own
        place, cure = f"'{error.filename}': " * bool(error.filename), CURES.get(error.errno)
        return place + error.strerror + (f"; {cure}." if cure else ".")
    return text if told and text else f"{kind}: {text} ({where})"


def write_to_log(error: BaseException) -> bool:
    """Write the trace into the log files of this process; return whether there are any."""
    terminal = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    logger, failure = logging.getLogger("centernet_d2"), (type(error), error, error.__traceback__)
    record = logger.makeRecord(logger.name, logging.ERROR, "", 0, "Failed:", (), failure)
    streams = [each for each in logger.handlers if isinstance(each, logging.StreamHandler)]
    found = [handler for handler in streams if handler.stream not in terminal]
    for handler in found:
        handler.handle(record)
    return bool(found)
