"""What the figures were taken on."""

from __future__ import annotations

from datetime import UTC, datetime

import psutil

from aura.doctor import processor
from aura.runtime import cpu_threads
from aura.versions import ffmpeg_versions, tool_versions

BUSY_PERCENT = 20.0  # of all cores, used by others before the start, that makes figures doubtful
LISTEN_SECONDS = 2.0


def describe() -> str:
    """Processor, cores, versions and date, in one paragraph."""
    name, _ = processor()
    versions = {**tool_versions(), "libavcodec": ffmpeg_versions()["libavcodec"]}
    listed = ", ".join(f"{tool} {version}" for tool, version in versions.items())
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    return f"{date}, {cpu_threads()} cores of {name}, {listed}."


def busy() -> str | None:
    """A warning when other programs are at work now, None on a quiet machine."""
    used = psutil.cpu_percent(interval=LISTEN_SECONDS)
    if used <= BUSY_PERCENT:
        return None
    return (
        f"**Provisional: other work took {used:.0f} % of the machine before the start, so times "
        "are too long and ratios uncertain.**"
    )
