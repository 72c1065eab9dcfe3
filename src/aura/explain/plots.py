"""Charts of a report as SVG, made from the report alone: they can't disagree with it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from aura.explain.svg import GREY, INK, MARK, PALE, WIDTH, Drawing, clock, ticks

if TYPE_CHECKING:
    from pathlib import Path

    from aura.report import DetectorReport, Report

LEFT, RIGHT = 132.0, 12.0  # margins: names of lanes, and the end of the last tick's words
LANE, GAP = 44.0, 14.0
MAX_LANES = 9  # the clip of a crowd shows the decisive person's lanes first
AXIS = 26.0
MODALITY_NAMES = {
    "visual": "Face",
    "temporal": "Motion",
    "audio": "Voice",
    "sync": "Lips and voice",
    "joint": "Face and voice",
}
TOO_FAR = 1.5  # seconds between windows over which no line is drawn


def charts(report: Report, folder: Path | None) -> dict[str, str]:
    """All charts that the report has data for, by file name."""
    made = {
        "scores.svg": scores_over_time(report),
        "lips.svg": lips_over_time(report),
        "contributions.svg": contributions(report),
        "sound.svg": sound(report, folder),
    }
    return {name: chart for name, chart in made.items() if chart is not None}


class _Axis:
    """Seconds to user units."""

    def __init__(self, start: float, end: float) -> None:
        self.start, self.end = start, max(end, start + 0.1)

    def at(self, seconds: float) -> float:
        share = (seconds - self.start) / (self.end - self.start)
        return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    def draw(self, drawing: Drawing, top: float, bottom: float) -> None:
        for tick in ticks(self.start, self.end):
            x = self.at(tick)
            drawing.line(x, top, x, bottom, PALE)
            drawing.text(x, bottom + 14, clock(tick), anchor="middle", ink=GREY)


def scores_over_time(report: Report) -> str | None:
    """One lane for each detector and person: score of each window, flagged stretches hatched."""
    ran = [one for one in report.detectors if one.windows]
    if not ran:
        return None
    decisive = report.prediction.decisive_subject
    ran.sort(key=lambda one: one.subject not in {None, decisive})
    lanes = ran[:MAX_LANES]
    height = 20 + len(lanes) * (LANE + GAP) + AXIS
    drawing = Drawing(height, "Scores over time, one lane for each detector")
    axis = _Axis(0.0, report.metadata.video_duration_sec)
    axis.draw(drawing, 16, height - AXIS)
    drawing.text(LEFT, 11, "1 = like manipulated, 0 = like genuine; dashed: 0.5", ink=GREY)
    for index, one in enumerate(lanes):
        top = 20 + index * (LANE + GAP)
        name = one.label
        drawing.text(LEFT - 26, top + 16, name, anchor="end")
        who = "whole clip" if one.subject is None else f"person {one.subject}"
        counted = "" if one.share else ", not counted"
        drawing.text(LEFT - 26, top + 30, who + counted, anchor="end", ink=GREY, size="9")
        _lane(drawing, axis, one, top)
        for segment in report.prediction.segments:
            if one.name in segment.detectors and segment.subject == one.subject:
                left, right = axis.at(segment.start), axis.at(segment.end)
                drawing.hatched(left, top + LANE + 1, max(right - left, 3.0), 6)
    return str(drawing)


def _lane(drawing: Drawing, axis: _Axis, one: DetectorReport, top: float) -> None:
    left, right = axis.at(axis.start), axis.at(axis.end)
    bottom = top + LANE
    drawing.box(left, top, right - left, LANE, "none", stroke=GREY, stroke_width="0.6")
    drawing.line(left, (top + bottom) / 2, right, (top + bottom) / 2, GREY, stroke_dasharray="3 3")
    drawing.text(left - 4, top + 8, "1", anchor="end", ink=GREY, size="9")
    drawing.text(left - 4, bottom, "0", anchor="end", ink=GREY, size="9")
    run: list[tuple[float, float]] = []
    before: float | None = None
    for window in one.windows:
        middle = (window.start + window.end) / 2
        if before is not None and middle - before > TOO_FAR:
            _stroke(drawing, run)
            run = []
        run.append((axis.at(middle), bottom - window.score * LANE))
        before = middle
    _stroke(drawing, run)


def _stroke(drawing: Drawing, run: list[tuple[float, float]]) -> None:
    if len(run) == 1:  # a line of no length is not drawn
        (x, y), *_ = run
        run = [(x - 3, y), (x + 3, y)]
    if run:
        drawing.path(run, INK, stroke_width="1.6", stroke_linejoin="round")


def lips_over_time(report: Report) -> str | None:
    """Mismatch of lips and voice, window by window, one lane for each person with any."""
    lanes = [one for one in report.detectors if one.modality == "sync" and one.windows][:MAX_LANES]
    if not lanes:
        return None
    height = 20 + len(lanes) * (LANE + GAP) + AXIS
    drawing = Drawing(height, "Mismatch of lips and voice over time")
    axis = _Axis(0.0, report.metadata.video_duration_sec)
    axis.draw(drawing, 16, height - AXIS)
    drawing.text(LEFT, 11, "1 = lips and voice do not belong together; dashed: 0.5", ink=GREY)
    for index, one in enumerate(lanes):
        top = 20 + index * (LANE + GAP)
        drawing.text(LEFT - 26, top + 16, f"Person {one.subject}", anchor="end")
        offset = one.details.get("offset_seconds")
        if isinstance(offset, (int, float)):
            words = f"offset {offset:+.2f} s"
            drawing.text(LEFT - 26, top + 30, words, anchor="end", ink=GREY, size="9")
        _lane(drawing, axis, one, top)
    return str(drawing)


def contributions(report: Report) -> str:
    """Score of each detector with what it counts, then which way each modality pulls."""
    rows = _decisive_rows(report)
    pulls = {
        name: value
        for name, value in report.prediction.modality_contribution.items()
        if value is not None
    }
    row = 24.0
    height = 20 + row * len(rows) + (36 + row * len(pulls) if pulls else 0) + 8
    drawing = Drawing(height, "Score and weight of each detector; pull of each modality")
    scale = 300.0
    drawing.text(LEFT, 11, "Score, 0 to 1, and how much it counts", ink=GREY)
    for index, one in enumerate(rows):
        top = 20 + index * row
        drawing.text(LEFT - 8, top + 12, one.label, anchor="end")
        if one.score is None:
            drawing.text(LEFT, top + 12, "n/a – " + short(one.reason or "", 92), ink=GREY)
            continue
        drawing.box(LEFT, top + 2, scale, 13, "none", stroke=GREY, stroke_width="0.6")
        drawing.box(LEFT, top + 2, scale * one.score, 13, "#555" if one.share else "#bbb")
        drawing.line(LEFT + scale / 2, top, LEFT + scale / 2, top + 17, GREY)
        counts = f"counts {one.share:.0%}" if one.share else "shown, not counted"
        drawing.text(LEFT + scale + 8, top + 12, f"{one.score:.2f}   {counts}")
    if pulls:
        top = 20 + row * len(rows) + 16
        middle = LEFT + scale / 2
        drawing.text(
            LEFT,
            top + 4,
            "Pull on the verdict: left towards genuine, right towards manipulated",
            ink=GREY,
        )
        for index, (name, value) in enumerate(pulls.items()):
            y = top + 12 + index * row
            drawing.text(LEFT - 8, y + 12, MODALITY_NAMES.get(name, name), anchor="end")
            drawing.line(middle, y, middle, y + 18, INK)
            drawing.box(
                middle + min(value, 0.0) * scale / 2,
                y + 2,
                abs(value) * scale / 2,
                13,
                MARK if value > 0 else "#555",
            )
            drawing.text(LEFT + scale + 8, y + 12, f"{value:+.2f}")
    return str(drawing)


def _decisive_rows(report: Report) -> list[DetectorReport]:
    decisive = report.prediction.decisive_subject
    mine = [one for one in report.detectors if one.subject in {None, decisive}]
    return mine or list(report.detectors[:MAX_LANES])


def sound(report: Report, folder: Path | None) -> str | None:
    """The spectrogram with its flagged spans, and where there is speech."""
    told = report.explanation.spectrogram if report.explanation else None
    if told is None or folder is None or not (folder / told.picture.file).is_file():
        return None
    png = base64.b64encode((folder / told.picture.file).read_bytes()).decode()
    drawing = Drawing(196, "Spectrogram of the sound with flagged stretches")
    axis = _Axis(told.start, told.end)
    left, right = axis.at(axis.start), axis.at(axis.end)
    top, bottom = 16.0, 136.0
    drawing.text(LEFT, 11, "Dark = loud", ink=GREY)
    drawing.image(left, top, right - left, bottom - top, png)
    drawing.box(left, top, right - left, bottom - top, "none", stroke=GREY, stroke_width="0.6")
    drawing.text(left - 6, top + 9, f"{told.high_hz / 1000:g} kHz", anchor="end", ink=GREY)
    drawing.text(left - 6, bottom, f"{told.low_hz:g} Hz", anchor="end", ink=GREY)
    spans = [(one.start, one.end) for one in report.prediction.audio_anomalies]
    spans += [(s.start, s.end) for s in report.prediction.segments if s.modality == "sync"]
    for start, end in spans:
        drawing.hatched(axis.at(start), top, max(axis.at(end) - axis.at(start), 3.0), bottom - top)
    drawing.text(left - 6, bottom + 22, "Speech", anchor="end")
    step = (right - left) / max(len(told.speech), 1)
    for index, value in enumerate(told.speech):
        high = 22 * value
        drawing.box(left + index * step, bottom + 28 - high, step + 0.2, high, "#555")
    drawing.line(left, bottom + 28, right, bottom + 28, GREY)
    for tick in ticks(axis.start, axis.end):
        drawing.text(axis.at(tick), bottom + 42, clock(tick), anchor="middle", ink=GREY)
    if not spans:
        drawing.text(left, bottom + 56, "No stretch of the sound is flagged.", ink=GREY, size="9")
    return str(drawing)


def short(words: str, limit: int) -> str:
    """Words cut to fit, with three dots where something is missing.

    >>> short("much too long", 8)
    'much ...'
    """
    return words if len(words) <= limit else words[: limit - 3].rstrip() + " ..."
