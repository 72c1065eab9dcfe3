"""Just enough SVG for charts that print well in black and white."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 720.0  # user units; charts are scaled to the column they stand in
FONT = "DejaVu Sans, Liberation Sans, Arial, sans-serif"
INK, GREY, PALE, MARK = "#111", "#666", "#ddd", "#b3261e"
TEXT_SIZE = 11.0
NOT_XML = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 127, 0xFFFE, 0xFFFF])


class Drawing:
    """Shapes in user units from the left top."""

    def __init__(self, height: float, title: str) -> None:
        self._height = height
        self._title = title
        self._parts: list[str] = []

    def line(
        self, x1: float, y1: float, x2: float, y2: float, ink: str = GREY, **more: str
    ) -> None:
        """A straight line."""
        self._parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{ink}"{_more(more)}/>'
        )

    def path(self, points: Sequence[tuple[float, float]], ink: str = INK, **more: str) -> None:
        """A row of straight lines."""
        placed = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline points="{placed}" fill="none" stroke="{ink}"{_more(more)}/>')

    def box(
        self, x: float, y: float, width: float, height: float, fill: str = PALE, **more: str
    ) -> None:
        """A rectangle."""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.0):.1f}" '
            f'height="{max(height, 0.0):.1f}" fill="{fill}"{_more(more)}/>'
        )

    def hatched(self, x: float, y: float, width: float, height: float) -> None:
        """A flagged stretch: told by slanted lines and a frame, not by its colour alone."""
        self.box(x, y, width, height, "none", stroke=MARK, stroke_width="1.2")
        step, left, right = 6.0, x, x + width
        start = left - height
        for i in range(math.floor((right - start) / step) + 1):
            low, high = start + i * step, start + i * step + height  # along the top, the bottom
            a, b = max(low, left), min(high, right)
            if a < b:
                self.line(a, y + height - (a - low), b, y + height - (b - low), MARK)

    def text(
        self, x: float, y: float, words: str, *, anchor: str = "start", ink: str = INK, **more: str
    ) -> None:
        """Words; whatever they hold, they stay words."""
        shown = escape(words.translate(NOT_XML))
        size = more.pop("size", f"{TEXT_SIZE:g}")
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{ink}"{_more(more)}>{shown}</text>'
        )

    def image(self, x: float, y: float, width: float, height: float, png: str) -> None:
        """A PNG given as Base64, stretched to fit."""
        self._parts.append(
            f'<image x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'preserveAspectRatio="none" href="data:image/png;base64,{png}"/>'
        )

    def __str__(self) -> str:
        inner = "\n".join(self._parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {self._height:g}" '
            f'font-family="{FONT}" role="img" '
            f'aria-label="{escape(self._title.translate(NOT_XML))}">'
            f"\n{inner}\n</svg>\n"
        )


def _more(attributes: dict[str, str]) -> str:
    return "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())


def ticks(start: float, end: float, about: int = 8) -> list[float]:
    """Round seconds between two moments, about as many as asked for.

    >>> ticks(0.0, 10.0, 5)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    span = max(end - start, 1e-3)
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200)
    step = next((one for one in steps if span / one <= about), steps[-1])
    first = math.ceil(start / step - 1e-9)
    return [round(float(i * step), 3) for i in range(first, math.floor(end / step + 1e-9) + 1)]


def clock(seconds: float) -> str:
    """Minutes and seconds, with tenths below a minute of clip where they matter.

    >>> clock(75), clock(3.5)
    ('1:15', '0:03.5')
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    whole, tenth = divmod(rest, 10)
    return f"{minutes}:{whole:02d}" + (f".{tenth}" if tenth else "")
