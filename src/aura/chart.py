"""Characters to draw with, and a score over time drawn with them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.report import Report

CHART_ROWS = 2
CELLS_A_MARK = 11  # columns that a time below the chart takes, with room around it
AXIS_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 18_000)


@dataclass(frozen=True)
class Glyphs:
    """The characters that the panel draws with; `levels` from empty to full."""

    symbols: dict[str, str]
    full: str
    empty: str
    line: str
    span: str
    point: str
    axis: str
    levels: str
    dot: str
    bullet: str
    ellipsis: str
    space: str
    frame: box.Box

    def plain(self, text: str) -> str:
        """A file's name as it can be shown: no control characters, nothing the set lacks."""
        shown = "".join(char if char.isprintable() else "?" for char in text)
        return shown if self.levels[-1] == "█" else shown.encode("ascii", "replace").decode()


FINE = Glyphs(
    symbols={"fake": "▲", "real": "●", "uncertain": "◆"},
    full="█",
    empty="░",
    line="─",
    span="━",
    point="●",
    axis="│",
    levels=" ▁▂▃▄▅▆▇█",
    dot=" · ",
    bullet="·",
    ellipsis="…",
    space="\N{NO-BREAK SPACE}",
    frame=box.ROUNDED,
)
PLAIN = Glyphs(
    symbols={"fake": "!", "real": "o", "uncertain": "?"},
    full="#",
    empty=".",
    line="-",
    span="=",
    point="O",
    axis="|",
    levels=" .:-=+*#@",
    dot=", ",
    bullet="-",
    ellipsis="...",
    space=" ",
    frame=box.ASCII,
)


def clock(seconds: float, *, tenths: bool = False) -> str:
    """Seconds as m:ss or h:mm:ss.

    >>> clock(75.26), clock(75.26, tenths=True), clock(3675)
    ('1:15', '1:15.3', '1:01:15')
    """
    units = round(seconds * 10) if tenths else int(seconds) * 10
    minutes, rest = divmod(units, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest / 10:04.1f}" if tenths else f"{rest // 10:02d}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def _series(report: Report) -> list[tuple[float, float]]:
    """(time, score) of the decisive person: pictures, or windows where no pictures were scored."""
    decisive = report.prediction.decisive_subject
    points = [
        (point.timestamp, point.score)
        for point in report.prediction.frame_scores
        if point.subject == decisive
    ]
    return points or [
        ((window.start + window.end) / 2, window.score)
        for one in report.detectors
        if (one.subject is None or one.subject == decisive) and one.share
        for window in one.windows
    ]


def score_chart(report: Report, width: int, glyphs: Glyphs) -> RenderableType | None:
    """Score over time, the highest of each step, two rows high, above a time axis."""
    series = _series(report)
    end = max([report.metadata.video_duration_sec, *(time for time, _ in series)])
    if not series or end <= 0:
        return None
    cells = width - 3
    heights: list[float | None] = [None] * cells
    for time, score in series:
        cell = min(cells - 1, max(0, int(time / end * cells)))
        heights[cell] = max(score, heights[cell] or 0.0)
    heights = _bridge(heights, series, end)
    rows = [
        _chart_row(heights, row, "1" if row == CHART_ROWS - 1 else "0" if row == 0 else " ", glyphs)
        for row in reversed(range(CHART_ROWS))
    ]
    return Group(*rows, Text("  " + _axis(end, cells), style="dim"))


def _bridge(
    heights: Sequence[float | None], series: Sequence[tuple[float, float]], end: float
) -> list[float | None]:
    """Carry a value over cells that are finer than the sampling, but not over real gaps."""
    times = sorted(time for time, _ in series)
    steps = sorted(b - a for a, b in pairwise(times))
    usual = steps[len(steps) // 2] if steps else 0.0
    reach = round(usual / end * len(heights) + 0.5)
    filled = list(heights)
    since = reach + 1
    for cell, height in enumerate(heights):
        since = 0 if height is not None else since + 1
        if height is None and since <= reach and cell > 0:
            filled[cell] = filled[cell - 1]
    return filled


def _chart_row(heights: Sequence[float | None], row: int, label: str, glyphs: Glyphs) -> Text:
    text = Text(f"{label}{glyphs.axis}", style="dim")
    steps = len(glyphs.levels) - 1
    for height in heights:
        if height is None:
            text.append(" ")
            continue
        # The lowest step is always drawn where a face was seen: a blank means "no face".
        level = max(1, round(height * steps * CHART_ROWS)) - row * steps
        text.append(
            glyphs.levels[min(steps, max(0, level))], style="red" if height >= 0.5 else "green"
        )
    return text


def _axis(end: float, cells: int) -> str:
    """Round times under the chart, as many as fit, each centred below its moment."""
    room = max(1, cells // CELLS_A_MARK)
    step = next((step for step in AXIS_STEPS if end / step <= room), end)
    line = [" "] * cells
    for index in range(int(end / step) + 1):
        mark = clock(index * step, tenths=step < 1)
        left = max(0, min(cells - len(mark), int(index * step / end * cells) - len(mark) // 2))
        if "".join(line[max(0, left - 2) : left + len(mark)]).strip():
            continue  # the last mark would run into the one before
        line[left : left + len(mark)] = mark
    return "".join(line).rstrip()
