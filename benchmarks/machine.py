"""What the figures were taken on."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from aura.doctor import processor
from aura.runtime import cpu_threads
from aura.versions import ffmpeg_versions, tool_versions

BUSY_SHARE = 0.5  # waiting processes per core from which a machine counts as busy


def describe() -> str:
    """Processor, cores, versions and date, in one paragraph."""
    name, _ = processor()
    versions = {**tool_versions(), "libavcodec": ffmpeg_versions()["libavcodec"]}
    listed = ", ".join(f"{tool} {version}" for tool, version in versions.items())
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    return f"{date}, {cpu_threads()} cores of {name}, {listed}."


def busy() -> str | None:
    """A warning when other programs were at work at the start, None on a quiet machine."""
    load = os.getloadavg()[0]
    if load <= BUSY_SHARE * cpu_threads():
        return None
    return (
        f"**Provisional: the machine was busy with other work (load {load:.1f} at the start), so "
        "times are too long and ratios uncertain.**"
    )
