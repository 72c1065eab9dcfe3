"""One command as a whole process: wall time, CPU time and peak memory, start-up included."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# `ru_maxrss` is in KiB on Linux and in bytes on macOS.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Cost:
    """What one process took: seconds of wall time, seconds of CPU, bytes at the peak."""

    wall: float
    cpu: float
    peak_memory: int
    output: bytes


class CommandFailed(Exception):
    """A measured command ended with an error; its figures would mean nothing."""


def measure(command: Sequence[str]) -> Cost:
    """Run one command to its end.

    Raises:
        CommandFailed: its exit code is not 0.
    """
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        # Not `process.wait`: only wait4 tells what this one child used.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise CommandFailed(f"{' '.join(command)} ended with exit code {process.returncode}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * RSS_UNIT, output)


def measure_median(command: Sequence[str], runs: int) -> Cost:
    """Run a command several times and return the run with the median wall time."""
    costs = [measure(command) for _ in range(runs)]
    middle = statistics.median_low(cost.wall for cost in costs)
    return next(cost for cost in costs if cost.wall == middle)
