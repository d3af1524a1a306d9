"""How many CPU threads this process computes with, and how they wait for each other.

The standard library alone is imported: `fit_threads` has to be called before torch is, since an
OpenMP library reads its variables when it is loaded.

OpenMP's threads spin while they wait for the last of them. On an idle machine that is right, but
where another process has the core of that last one, all the others take its time away. libgomp
spins 300,000 times before a thread sleeps, and 1,000 times where it knows that it has more threads
than cores; of other processes it does not know. So it is told the smaller number, which costs some
percent on an idle machine (BENCHMARKS.md, "CPU threads").
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path

COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # as torch reads them, the first that is set
WAITING = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}  # GNU's, and Intel's and LLVM's
_POLICY = "OMP_WAIT_POLICY"  # of all of them: who sets it has decided
_OURS = "CENTERNET_D2_THREADS"  # names of the variables set here, for the processes started from it


@dataclass(frozen=True)
class Share:
    """The cores that a process may use, in whole ones, and why so many."""

    cores: int
    reason: str

    def among(self, processes: int) -> Share:
        """The share of each of several processes of a job."""
        if processes <= 1:
            return self
        reason = f"{self.reason}, shared by {processes} processes"
        return replace(self, cores=max(1, self.cores // processes), reason=reason)


@dataclass
class _Job:
    """What this process knows of its start."""

    processes: int = 1  # of the job on this machine
    busy: int = 0  # cores that other processes had when it began


_job = _Job()


def fit_threads(environ: MutableMapping[str, str] = os.environ, share: Share | None = None) -> str:
    """Set OpenMP's variables for this process and those that it starts; see `describe`.

    Their number is set where a quota allows fewer than OpenMP would start, which knows the affinity
    alone. What the user has set stays, and is said. Once torch is imported nothing is changed.
    """
    share = share or share_of_process()
    if _torch_threads():
        return describe(environ, share)
    ours = {"OMP_NUM_THREADS": str(share.cores)} if share.cores < _allowed() else {}
    kept = _set_by_user(environ)
    ours = {} if kept.intersection(COUNTS) else ours
    ours |= {} if _POLICY in kept else {k: v for k, v in WAITING.items() if k not in kept}
    environ.update(ours)
    environ[_OURS] = ",".join(ours)
    if share.cores == os.cpu_count() and hasattr(os, "getloadavg"):
        _job.busy = round(os.getloadavg()[0])
    return describe(environ, share)


def share_among(processes: int, environ: Mapping[str, str] = os.environ) -> None:
    """Let torch take this process's part of the cores; each process of a job on this machine."""
    _job.processes = processes
    if processes > 1 and not _set_by_user(environ).intersection(COUNTS):
        import torch

        torch.set_num_threads(share_of_process().among(processes).cores)


def describe(environ: Mapping[str, str] = os.environ, share: Share | None = None) -> str:
    """Say it: "2 threads (the container's quota of 2 of 16 cores), GOMP_SPINCOUNT=1000"."""
    share = (share or share_of_process()).among(_job.processes)
    kept = _set_by_user(environ)
    asked = next((f"{name}={environ[name]}" for name in COUNTS if name in kept), "")
    first = asked.partition("=")[2].partition(",")[0]  # "4,2": of nested loops
    threads = _torch_threads() or (int(first) if first.isdecimal() else share.cores)
    reasons = [asked] if first == str(threads) else []
    if not reasons and threads != share.cores:
        reasons = ["torch's own number"]
    told = f"{threads} thread{'s' * (threads != 1)} ({', '.join([*reasons, share.reason])})"
    names = (_POLICY,) if _POLICY in environ else ("GOMP_SPINCOUNT",)
    told += "".join(f", {name}={environ[name]}" for name in names if name in environ)
    free = max(1, share.cores - _job.busy)
    if 2 * _job.busy >= share.cores and free < threads:
        told += (
            f"; other processes use {_job.busy} of the cores: while they do, OMP_NUM_THREADS="
            f"{free} is faster"
        )
    return told


def too_many() -> str:
    """Say that torch has more threads than cores, and the cure; "" where it has not."""
    share, threads = share_of_process().among(_job.processes), _torch_threads()
    if threads <= share.cores:
        return ""
    return (
        f"torch computes with {threads} threads, more than the cores it has ({share.reason}): set "
        f"OMP_NUM_THREADS={share.cores} before Python starts, or call torch.set_num_threads("
        f"{share.cores})."
    )


def share_of_process(root: Path = Path("/"), allowed: int = 0, total: int = 0) -> Share:
    """Find the cores of this process: all, those of its affinity, or a container's quota.

    A quota of 1.5 cores is 2: what is next to it, and at least 1.
    """
    cores, total = allowed or _allowed(), total or os.cpu_count() or 1
    quota = min(_quotas(root), default=math.inf)
    if quota < cores:
        reason = f"the container's quota of {quota:g} of {total} cores"
        return Share(max(1, math.floor(quota + 0.5)), reason)
    if cores < total:
        return Share(cores, f"{cores} of {total} cores by affinity")
    return Share(cores, f"all {cores} cores")


def _quotas(root: Path) -> Iterator[float]:
    """Quotas in cores of the control groups that this process is in, and of those around them.

    Inside a container the path is often that of the machine and its files lie at the top, so what
    is not there is passed over.
    """
    groups = re.findall(r"^\d+:([^:]*):(/.*)$", _text(root / "proc/self/cgroup"), re.MULTILINE)
    for controllers, path in groups:
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in {controllers, "cpu"} if controllers else ("", "unified"):
            parts = [part for part in path.split("/") if part not in ("", "..")]
            for depth in range(len(parts) + 1):
                yield from _quota(root.joinpath("sys/fs/cgroup", mount, *parts[:depth]))


def _quota(group: Path) -> Iterator[float]:
    """The quota of one group: cpu.max of version 2, two files of version 1; none: "max" or -1."""
    words = _text(group / "cpu.max").split()
    words = words or [_text(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    try:
        quota, period = map(int, words)
    except ValueError:
        return
    if quota > 0 and period > 0:
        yield quota / period


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _allowed() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _set_by_user(environ: Mapping[str, str]) -> set[str]:
    names = {*COUNTS, *WAITING, _POLICY}.intersection(environ)
    return names.difference(environ.get(_OURS, "").split(","))


def _torch_threads() -> int:
    """Return torch's number, 0 where it is not imported."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else 0
