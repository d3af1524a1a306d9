"""Freed memory, kept for the next tensors instead of given back. The standard library alone."""

import ctypes
import os
from collections.abc import Mapping

KEPT = 2**30  # bytes: smaller blocks come from the heap, and so much may lie free at its end
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # as glibc's malloc.h numbers them


def keep_memory(environ: Mapping[str, str] = os.environ) -> bool:
    """Let glibc keep what this process frees; whether it does. Its variables, if set, decide.

    It gives blocks above 32 MiB back, and the next layer waits for new pages that the system
    clears: a quarter of a batch of eight of a ResNet-18, a tenth of a step (BENCHMARKS.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    decided = any(name.startswith("MALLOC_") for name in environ)
    if mallopt is None or decided or "glibc.malloc" in environ.get("GLIBC_TUNABLES", ""):
        return False
    # Older than 2.35 it refuses the first; without any mapping all comes from the heap.
    mapped = mallopt(_MMAP_THRESHOLD, KEPT) or mallopt(_MMAP_MAX, 0)
    return bool(mapped and mallopt(_TRIM_THRESHOLD, KEPT))
