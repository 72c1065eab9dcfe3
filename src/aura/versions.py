"""Versions of everything that can change a number in a report."""

from __future__ import annotations

import platform
from importlib import metadata

from aura import __version__

# Distribution by the short name under which it appears in reports.
DISTRIBUTIONS = {
    "openvino": "openvino",
    "av": "av",
    "opencv": "opencv-python-headless",
    "numpy": "numpy",
}


def tool_versions() -> dict[str, str]:
    """Versions of Aura, Python and the libraries that touch the numbers; "absent" if not there."""
    versions = {"aura": __version__, "python": platform.python_version()}
    for name, distribution in DISTRIBUTIONS.items():
        try:
            versions[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def ffmpeg_versions() -> dict[str, str]:
    """Versions of the FFmpeg libraries inside PyAV, by library name."""
    import av  # noqa: PLC0415 - slow to import, and `aura --version` has no need of it

    return {
        name: ".".join(str(part) for part in version)
        for name, version in sorted(av.library_versions.items())
    }
