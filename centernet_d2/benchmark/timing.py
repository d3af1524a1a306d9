"""Timing alternatives against each other, and the peak memory of one call."""

import ctypes
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Call = Callable[[], object]
PAUSE = 0.3  # seconds before calls of different runtimes: threads of some go on spinning
SETTLED = 0.05  # seconds of calls after a pause; several took three times as long before


@dataclass(frozen=True)
class Timing:
    """Seconds of one alternative over all rounds."""

    median: float
    lowest: float
    quartiles: tuple[float, float]  # first and third: how steady the machine was
    rounds: int

    @property
    def ms(self) -> float:
        """The median in milliseconds."""
        return 1e3 * self.median

    @property
    def spread(self) -> float | None:
        """Distance of the quartiles, as a share of the median; None of a single round."""
        between = self.quartiles[1] - self.quartiles[0]
        return round(between / self.median, 3) if self.rounds > 1 else None

    def against(self, reference: "Timing", name: str) -> dict[str, Any]:
        """What a row says of this beside another timing of the same turns, called `name`.

        `uncertainty`, a share: both medians' notches in a box plot, 1.57 quartile ranges /
        sqrt(rounds) (McGill, Tukey and Larsen, 1978), united; None of a single round.
        """
        row = {"reference": name, "speed_up": float(f"{reference.median / self.median:.3g}")}
        notch = 1.57 * math.hypot(self.spread or 0, reference.spread or 0) / math.sqrt(self.rounds)
        return row | {"uncertainty": round(notch, 3) if self.rounds > 1 else None}


def time_interleaved(
    calls: Mapping[str, Call], *, rounds: int, warm_up: int, device: torch.device, pause: float = 0
) -> dict[str, Timing]:
    """Time calls in turns, so that a slow phase of the machine meets all of them alike.

    Each round runs every call once, starting one further than the round before. On CUDA every
    measurement waits for the device before and after.

    Args:
        calls: what to time, by name.
        rounds: measurements of each.
        warm_up: runs of each before, not measured.
        device: where the calls compute.
        pause: seconds before each, and calls for `SETTLED` seconds: threads of others spin on,
            caches are theirs, and threads that slept wake on one core before they are moved apart.
    """
    names = list(calls)
    for name in names:
        for _ in range(warm_up):
            calls[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if pause:
                time.sleep(pause)
                awake = time.perf_counter() + SETTLED
                calls[name]()
                while time.perf_counter() < awake:
                    calls[name]()
            synchronize(device)
            start = time.perf_counter()
            calls[name]()
            synchronize(device)
            seconds[name].append(time.perf_counter() - start)
    return {name: _summarize(values) for name, values in seconds.items()}


def peak_memory(call: Call, device: torch.device) -> int | None:
    """Bytes that a call takes at most, on top of what is there before it.

    On CUDA torch's tensors; on a CPU the growth of the process (Linux only, elsewhere None), which
    includes the scratch memory of the libraries. Call it once before, for what is made only once.
    """
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # or freed memory would hide what is taken
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # the high-water mark starts anew
        before = _process_memory("VmRSS")
        call()
        return max(0, _process_memory("VmHWM") - before)
    except OSError:
        return None


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _summarize(seconds: list[float]) -> Timing:
    lowest, first, median, third = np.percentile(seconds, [0, 25, 50, 75]).tolist()
    return Timing(median, lowest, (first, third), len(seconds))


def _process_memory(key: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}")
