"""Limits that the operating system holds a process to."""

from __future__ import annotations

import resource
import sys


def limit_memory(size: int) -> None:
    """Let this process have so many bytes of data; beyond, allocations fail.

    0 sets no limit. Only Linux counts in a way that fits.
    """
    if size <= 0 or sys.platform != "linux":
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))


def limit_processor(seconds: int) -> None:
    """End this process when it has computed for so long."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
