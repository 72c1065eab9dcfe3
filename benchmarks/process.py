"""One command as a whole process: wall time, CPU time and peak memory, start-up included."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LAUNCHER = Path(__file__).with_name("launcher.py")
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
    """Run one command to its end, through `launcher.py`.

    Raises:
        CommandFailed: its exit code is not 0.
    """
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as report:
        # -I -S: the launcher needs nothing but the standard library, and stays small.
        launched = [sys.executable, "-I", "-S", str(LAUNCHER), str(writing), *command]
        with subprocess.Popen(
            launched, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, pass_fds=[writing]
        ) as process:
            os.close(writing)
            output, _ = process.communicate()
        used = json.loads(report.read() or b'{"exit_code": "none: it could not be started"}')
    if used["exit_code"] != 0:
        raise CommandFailed(f"{' '.join(command)} ended with exit code {used['exit_code']}")
    return Cost(used["wall"], used["cpu"], used["max_rss"] * RSS_UNIT, output)


def measure_in_turn(commands: Sequence[Sequence[str]], runs: int) -> list[Cost]:
    """Run commands several times in turn; for each, the run with its median wall time.

    In turn, so that whatever else the machine does at a moment meets all of them alike.
    """
    costs = [[measure(command) for command in commands] for _ in range(runs)]
    medians = []
    for column in zip(*costs, strict=True):
        middle = statistics.median_low(cost.wall for cost in column)
        medians.append(next(cost for cost in column if cost.wall == middle))
    return medians
