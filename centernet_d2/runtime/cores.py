"""The cores that this process may use, and whether others use them; the standard library alone."""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path


def allowed_cores() -> int:
    """Those of the affinity, where a system has one, else all."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def usable_cores(root: Path = Path("/"), allowed: int = 0) -> tuple[int, float]:
    """Whole cores, of the affinity or next to a container's quota, and the quota, 0 if no fewer."""
    cores = allowed or allowed_cores()
    quota = min(_quotas(root), default=cores)
    return (max(1, math.floor(quota + 0.5)), quota) if quota < cores else (cores, 0)


def is_busy(cores: int, root: Path = Path("/")) -> bool:
    """Whether others leave fewer cores of the machine free, over the last minute and just now."""
    text = _text(root / "proc/loadavg")  # none but on Linux
    found = re.match(r"(\d+\.\d+) \S+ \S+ (\d+)/", text)
    running = min(float(found[1]), int(found[2]) - 1) if found else 0  # without this process
    return round(running) > (os.cpu_count() or 1) - cores


def _quotas(root: Path) -> Iterator[float]:
    """Quotas in cores of this process's control groups and those around them, of both versions.

    Inside a container the path is often that of the machine and its files lie at the top, so what
    is not there is passed over; "max" and -1 are none.
    """
    groups = re.findall(r"^\d+:([^:]*):(/.*)$", _text(root / "proc/self/cgroup"), re.MULTILINE)
    for controllers, path in groups:
        if controllers and "cpu" not in controllers.split(","):
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in {controllers, "cpu"} if controllers else ("", "unified"):
            for depth in range(len(parts) + 1):
                group = root.joinpath("sys/fs/cgroup", mount, *parts[:depth])
                words = _text(group / "cpu.max") or " ".join(
                    _text(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")
                )
                if found := re.fullmatch(r"\s*([1-9]\d*)\s+([1-9]\d*)\s*", words):
                    yield int(found[1]) / int(found[2])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
