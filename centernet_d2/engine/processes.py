"""What the processes of a job do together: one looks and all hear; all stop at a signal."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import TypeVar

import torch
import torch.distributed as dist
from detectron2.utils import comm

Result = TypeVar("Result")
# The third is of a terminal that is closed; Windows has none.
STOPPING = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))


def told_by(asked: bool, look: Callable[[], Result]) -> list[Result]:
    """Call `look` in the processes that are `asked`; all get the results, or the first error.

    All processes call it together; a result can be pickled.
    """
    if comm.get_world_size() == 1:
        return [look()]
    result, error = None, None
    try:
        result = look() if asked else None
    except Exception as caught:
        error = caught
    heard = comm.all_gather((asked, result, error))
    for raised in (each[2] for each in heard if each[2] is not None):
        raise raised
    return [each[1] for each in heard if each[0]]


@contextlib.contextmanager
def at_signals(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Inside the block let `handle` be called at the signals `STOPPING`.

    One that was ignored before stays so; in a thread that is not the main one nothing changes.
    """
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in STOPPING if main}
    before = {n: handler for n, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopSignals:
    """Takes signals, by `note`, as a wish to stop after the current step.

    The same signal a second time stops at once, and so does the first while `at_once` is set.

    Attributes:
        received: number of the signal that asked first, 0 for none.
        at_once: whether a signal need not wait for a step, as there is nothing to save.
    """

    def __init__(self) -> None:
        self.received, self.at_once = 0, False
        self._seen: set[int] = set()
        self._process = os.getpid()

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal; the handler of `at_signals`."""
        if os.getpid() != self._process:  # a worker of the loader: the main process ends it
            return
        again = number in self._seen
        self._seen.add(number)
        self.received = self.received or number
        if again or self.at_once:
            self.stop()
        name = signal.Signals(number).name  # not through logging, which may be at work right now
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(2, f"{name}: stopping after this step; once more stops at once.\n".encode())

    def agreed(self) -> bool:
        """Whether any process was asked to stop; all call it together, after the same step."""
        if comm.get_world_size() > 1:
            number = torch.tensor([self.received])
            group = comm._get_global_gloo_group()
            dist.all_reduce(number, op=dist.ReduceOp.MAX, group=group)
            self.received = int(number)
        return self.received > 0

    def stop(self) -> None:
        """End as at the signal: by KeyboardInterrupt, or with exit status 143 (129 of SIGHUP)."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + self.received)


@contextlib.contextmanager
def passed_on(children: Callable[[], Iterable[int]]) -> Iterator[list[int]]:
    """Inside the block pass the signals `STOPPING` on to child processes, as SIGTERM.

    Yields:
        The numbers of the signals received so far. A terminal sends SIGINT to the children itself.
    """
    received: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for child in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)

    with at_signals(pass_on):
        yield received
