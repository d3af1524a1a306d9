"""Freed memory is kept, told by the pages that the system gives."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from centernet_d2.allocator import keep_memory

PAGES = """
import resource, sys
sys.path.insert(0, {folder!r})
from allocator import keep_memory
print(keep_memory())
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for megabytes in (48, 96):
        b"x" * (megabytes << 20)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own calls")
@pytest.mark.parametrize("user", [{}, {"MALLOC_ARENA_MAX": "2"}], ids=["ours", "the user's"])
def test_a_block_of_usual_size_takes_new_pages_once(user):
    folder = sys.modules[keep_memory.__module__].__file__.rpartition("/")[0]
    command = [sys.executable, "-S", "-c", PAGES.format(folder=folder)]
    done = subprocess.run(command, env=user, capture_output=True, text=True, check=True)
    kept, first, second = done.stdout.split()
    assert kept == str(not user)
    assert int(first) > 1000  # fewer, larger pages where the system has them
    assert (int(second) < 100) == (not user)


@pytest.mark.parametrize(
    "user", [{"MALLOC_TRIM_THRESHOLD_": "0"}, {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}]
)
def test_what_the_user_has_set_stays(user):
    assert not keep_memory(user)
