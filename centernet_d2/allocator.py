"""Memory of the system, kept for the next tensors. The standard library alone is imported.

glibc gives blocks of more than 32 MiB back when they are freed, and what is free at the end of its
heap. The next layer then gets new pages, each of which the system clears when it is first touched:
a quarter of a batch of eight, and a tenth of a training step, of a ResNet-18 (BENCHMARKS.md).
"""

import ctypes
import os
from collections.abc import Mapping

KEPT = 2**30  # bytes: smaller blocks come from the heap, and so much may lie free at its end
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # as malloc.h numbers them


def keep_memory(environ: Mapping[str, str] = os.environ) -> bool:
    """Let this process keep freed memory; whether it does.

    Who sets one of glibc's own variables has decided. Other allocators have no such call, or go
    without it.
    """
    decided = any(name.startswith("MALLOC_") for name in environ)
    if decided or "glibc.malloc" in environ.get("GLIBC_TUNABLES", "") or os.name != "posix":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Before glibc 2.35 the first is refused; without any mapping all comes from the heap.
    mapped = mallopt(_MMAP_THRESHOLD, KEPT) or mallopt(_MMAP_MAX, 0)
    return bool(mapped and mallopt(_TRIM_THRESHOLD, KEPT))
