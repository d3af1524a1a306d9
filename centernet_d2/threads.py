"""How many CPU threads this process computes with, and how they wait for each other.

The standard library alone is imported: OpenMP reads its variables when torch is imported.

OpenMP's threads spin while they wait for the last of them. Where another process has the core of
that one, they take its time away. libgomp, which torch's wheels for Linux hold, spins 300,000 times
before a thread sleeps; of other processes it does not know. So it is told not to spin where others
compute already, and else a number that costs little alone and bounds the harm should others come
(BENCHMARKS.md has both ways, and OpenMP libraries that read other variables).
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import NamedTuple

from .runtime.cores import allowed_cores, is_busy, usable_cores

COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # as torch reads them, the first that is set
SPINS, POLICY = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"  # who sets one of them has decided
SHORT, PASSIVE = "3000", "PASSIVE"
_OURS = "CENTERNET_D2_THREADS"  # names of the variables set here, for the processes started from it
_job = {"processes": 1}  # on this machine


class Share(NamedTuple):
    """The cores that a process may use, in whole ones, and why so many."""

    cores: int
    reason: str


def fit_threads(environ: MutableMapping[str, str] = os.environ, measured: bool = False) -> str:
    """Set OpenMP's variables for this process and those that it starts; returns `describe`.

    Their number is set where a quota allows fewer than OpenMP would start, which knows the affinity
    alone. What the user has set stays, and is said. Once torch is imported nothing is changed.
    What is measured waits as on an idle machine, whatever the load at the start.
    """
    if not _torch_threads():
        share, kept = share_of_process(), _set_by_user(environ)
        for name in environ.pop(_OURS, "").split(","):
            environ.pop(name, None)  # of the process that started this one
        waiting = {SPINS: SHORT} if measured or not is_busy(share.cores) else {POLICY: PASSIVE}
        ours = {} if kept.intersection((SPINS, POLICY)) else waiting
        if share.cores < allowed_cores() and not kept.intersection(COUNTS):
            ours["OMP_NUM_THREADS"] = str(share.cores)
        environ.update(ours)
        environ[_OURS] = ",".join(ours)
    return describe(environ)


def share_among(processes: int, environ: Mapping[str, str] = os.environ) -> None:
    """Let torch take this process's part of the cores; each process of a job on this machine."""
    _job["processes"] = processes
    if not _set_by_user(environ).intersection(COUNTS):
        import torch

        torch.set_num_threads(share_of_process().cores)


def describe(environ: Mapping[str, str] = os.environ) -> str:
    """Say it: "2 threads (the container's quota of 2 of 16 cores), GOMP_SPINCOUNT=3000"."""
    share, kept = share_of_process(), _set_by_user(environ)
    asked = next((f"{name}={environ[name]}" for name in COUNTS if name in kept), "")
    first = asked.partition("=")[2].partition(",")[0]  # "4,2": of nested loops
    threads = _torch_threads() or int(first if first.isdecimal() else 0) or share.cores
    own = "" if str(threads) in (first, str(share.cores)) else "torch's own number"
    why = ", ".join(filter(None, (asked, own, share.reason)))
    told = f"{threads} thread{'s' * (threads != 1)} ({why})"
    if threads > share.cores:
        told += f" - too many, set OMP_NUM_THREADS={share.cores} before Python starts"
    waiting = POLICY if POLICY in environ else SPINS
    told += f", {waiting}={environ[waiting]}" if waiting in environ else ""
    return told + " as other processes compute" * (POLICY in environ.get(_OURS, "").split(","))


def share_of_process(root: Path = Path("/"), allowed: int = 0, total: int = 0) -> Share:
    """Find the cores of this process: all, those of its affinity, or a container's quota.

    A quota of 1.5 cores is 2: what is next to it, and at least 1. Processes of a job share them.
    """
    (cores, quota), total = usable_cores(root, allowed), total or os.cpu_count() or 1
    reason = f"{cores} of {total} cores by affinity" if cores < total else f"all {cores} cores"
    if quota:
        reason = f"the container's quota of {quota:g} of {total} cores"
    if (processes := _job["processes"]) > 1:
        reason += f", shared by {processes} processes"
    return Share(max(1, cores // processes), reason)


def _set_by_user(environ: Mapping[str, str]) -> set[str]:
    names = {*COUNTS, SPINS, POLICY}.intersection(environ)
    return names.difference(environ.get(_OURS, "").split(","))


def _torch_threads() -> int:
    """Return torch's number, 0 where it is not imported."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else 0


def cpu_name() -> str:
    """The model of the processor."""
    file = Path("/proc/cpuinfo")
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    name = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return name[1] if name else platform.processor() or platform.machine()
