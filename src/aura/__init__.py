"""Aura: says, with evidence, whether a talking-head video is manipulated.

import aura
report = aura.analyze("interview.mp4")
print(report.prediction.overall_class, report.prediction.manipulation_confidence)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from aura.errors import AuraError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from aura.report import Report

__version__ = "0.1.0"
__all__ = ["AuraError", "Report", "__version__", "analyze"]


def analyze(
    path: str | Path,
    *,
    profile: str = "lite",
    faces: Literal["all", "single"] = "all",
    fps: float | None = None,
    device: str = "auto",
    hook: Callable[[str, float, float | None], None] | None = None,
    without: Sequence[str] = (),
    false_alarms: float | None = None,
) -> Report:
    """Analyse one video file; the same as `aura analyze` on the command line.

    Args:
        path: the file.
        profile: which detectors to use; `aura doctor` lists the profiles.
        faces: "all" judges every tracked person, "single" skips pictures without exactly one face.
        fps: pictures sampled a second; None: 5, or 10 for 1080 lines and more.
        device: "auto", "cpu" or "cuda".
        hook: called as `hook(stage, completed, total)` with seconds of media; `total` may be None.
        without: detectors to switch off, by name.
        false_alarms: share of genuine clips that may at most be called manipulated, one of the
            profile's levels (0.01 or 0.05); more clips then stay uncertain.

    Raises:
        AuraError: the file, the options or the weights are at fault; see `aura.errors`.
    """
    # Imported late: `import aura` stays fast, and `aura --help` needs no video library.
    from aura import pipeline  # noqa: PLC0415

    return pipeline.analyze(
        path,
        profile=profile,
        faces=faces,
        fps=fps,
        device=device,
        hook=hook,
        without=without,
        false_alarms=false_alarms,
    )


def __getattr__(name: str) -> object:
    if name == "Report":
        from aura.report import Report  # noqa: PLC0415 - see `analyze`

        return Report
    raise AttributeError(f"module 'aura' has no attribute {name!r}")
