"""The report in a terminal: one panel, readable at 80 columns, without colour and in ASCII.

Every meaning is carried by words, symbols or height; colour only repeats it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from aura.chart import FINE, PLAIN, Glyphs, clock, score_chart

if TYPE_CHECKING:
    from pathlib import Path

    from aura.profiles import FalseAlarmLevel, Rate
    from aura.report import ConfidenceInterval, DetectorReport, Report, SubjectReport

MAX_WIDTH = 120  # longer lines are hard to read back to their start
HEADING_WIDTH = 10
MOMENTS_SHOWN = 6
PEOPLE_SHOWN = 8
NARROW = 24  # columns; a reason squeezed into fewer is put under the name instead
STYLES = {"fake": "bold red", "real": "bold green", "uncertain": "bold yellow"}
WORDS = {
    "fake": "Likely manipulated",
    "real": "No sign of manipulation found",
    "uncertain": "Uncertain",
}


class Terminal(Console):
    """A console that leaves a closed pipe to its caller, who knows the exit code for it."""

    def on_broken_pipe(self) -> None:
        """Raise instead of ending the process."""
        raise BrokenPipeError


def print_report(report: Report, console: Console) -> None:
    """Print the panel, no wider than the console or `MAX_WIDTH`."""
    glyphs = PLAIN if console.options.ascii_only else FINE
    console.print(panel(report, width=min(console.width, MAX_WIDTH), glyphs=glyphs))


def outcome_line(report: Report, path: Path, console: Console) -> Text:
    """One line about one file of many; its path is shortened on a terminal only."""
    glyphs = PLAIN if console.options.ascii_only else FINE
    verdict = report.prediction.overall_class
    score = report.prediction.manipulation_confidence
    text = Text()
    text.append(f"{glyphs.symbols[verdict]} {WORDS[verdict]:<30}", style=STYLES[verdict])
    text.append(f"{_score(score):>5}  ")
    name = glyphs.plain(str(path))
    if console.is_terminal:
        name = _shorten(name, max(NARROW, console.width - len(text) - 1), glyphs)
    return text.append(name)


def panel(report: Report, *, width: int, glyphs: Glyphs = FINE) -> Panel:
    """The panel as something rich can print.

    Args:
        report: what to show. width: columns of the whole panel. glyphs: characters to draw with.
    """
    inner = width - 4 - HEADING_WIDTH - 2
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=HEADING_WIDTH, style="bold")
    grid.add_column(width=inner, overflow="fold")
    sections = [
        ("Verdict", _verdict(report, inner, glyphs)),
        ("People", _people(report, glyphs)),
        ("Evidence", _evidence(report, inner, glyphs)),
        ("Over time", score_chart(report, inner, glyphs)),
        ("Look at", _moments(report, glyphs)),
        ("Not judged", _not_judged(report)),
        ("C2PA", _credentials(report, glyphs)),
        ("Limits", _limits(report, glyphs)),
    ]
    for heading, body in sections:
        if body is not None:
            if grid.row_count:
                grid.add_row("", "")
            grid.add_row(heading, body)
    return Panel(
        grid,
        box=glyphs.frame,
        width=width,
        padding=(0, 1),
        title=Text(_shorten(glyphs.plain(report.provenance.input.name), width - 12, glyphs)),
        title_align="left",
        subtitle=_foot(report, width - 6, glyphs),
        subtitle_align="left",
    )


def _foot(report: Report, width: int, glyphs: Glyphs) -> Text:
    """The verdict once more, for terminals that scrolled its first mention away; then versions."""
    verdict, score = report.prediction.overall_class, report.prediction.manipulation_confidence
    text = Text(f"{glyphs.symbols[verdict]} {WORDS[verdict]}", style=STYLES[verdict])
    if score is not None:
        text.append(f" ({_score(score)})")
    meta = report.metadata
    made = glyphs.dot.join(
        [
            f"aura {meta.tool_versions['aura']}",
            meta.model_version,
            f"{meta.processing_time_sec:.1f} s",
        ]
    )
    gap = width - len(text) - len(made) - 2
    if gap < 1:
        return text
    return text.append(f" {glyphs.line * gap} ", style="default").append(made, style="dim")


def _score(score: float | None) -> str:
    # Two digits: more would claim a precision that the interval denies.
    return "n/a" if score is None else f"{score:.2f}"


def _shorten(text: str, width: int, glyphs: Glyphs) -> str:
    if len(text) <= width:
        return text
    keep = width - len(glyphs.ellipsis)
    return text[: keep - keep // 2] + glyphs.ellipsis + text[len(text) - keep // 2 :]


def _verdict(report: Report, width: int, glyphs: Glyphs) -> RenderableType:
    prediction = report.prediction
    verdict, score = prediction.overall_class, prediction.manipulation_confidence
    lines = [Text(f"{glyphs.symbols[verdict]} {WORDS[verdict]}", style=STYLES[verdict])]
    if prediction.reason:
        lines.append(Text(prediction.reason))
    interval = prediction.confidence_interval
    if score is not None and interval is not None:
        lines.append(
            Text(
                f"Score {_score(score)}"
                f"{glyphs.dot}{interval.level:.0%} interval {_score(interval.low)} to "
                f"{_score(interval.high)}"
                f"{glyphs.dot}confidence {_score(prediction.overall_confidence)}"
            )
        )
        lines.append(_scale(score, interval, min(width, 64), STYLES[verdict], glyphs))
        if interval.widened_for:
            causes = "; ".join(interval.widened_for)
            lines.append(Text(f"Interval widened: {causes}.", style="dim"))
    return Group(*lines)


def _scale(
    score: float, interval: ConfidenceInterval, width: int, style: str, glyphs: Glyphs
) -> Text:
    """The score and its interval on a line from 0 to 1."""
    left, right = "0 no sign ", " strong signs 1"
    cells = width - len(left) - len(right)
    place = [round(value * (cells - 1)) for value in (interval.low, score, interval.high)]
    text = Text(left, style="dim")
    for cell in range(cells):
        if cell == place[1]:
            text.append(glyphs.point, style=style)
        elif place[0] <= cell <= place[2]:
            text.append(glyphs.span, style=style)
        else:
            text.append(glyphs.line, style="dim")
    return text.append(right, style="dim")


def _people(report: Report, glyphs: Glyphs) -> RenderableType | None:
    if len(report.subjects) < 2:
        return None
    ranked = sorted(report.subjects, key=lambda one: (not one.decisive, -(one.score or -1.0)))
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(4):
        table.add_column(overflow="fold")
    for one in ranked[:PEOPLE_SHOWN]:
        table.add_row(
            f"Person {one.id}",
            f"{clock(one.first_seen)} to {clock(one.last_seen)}",
            _score(one.score),
            _person_verdict(one, glyphs),
        )
    hidden = len(ranked) - PEOPLE_SHOWN
    if hidden > 0:
        return Group(table, Text(f"and {hidden} more, all in the JSON report", style="dim"))
    return table


def _person_verdict(one: SubjectReport, glyphs: Glyphs) -> Text:
    text = Text(
        f"{glyphs.symbols[one.overall_class]} {WORDS[one.overall_class]}",
        style=STYLES[one.overall_class],
    )
    if one.decisive:
        text.append(" (decides)", style="default")
    elif one.score is None:
        text.append(", too little to judge", style="default")
    return text


def _evidence(report: Report, width: int, glyphs: Glyphs) -> RenderableType:
    decisive = report.prediction.decisive_subject
    shown = [one for one in report.detectors if one.subject is None or one.subject == decisive]
    label = max([len(one.label) for one in shown], default=0)
    bar = max(10, min(30, width - label - 26))
    return Group(*(_detector(one, label, bar, width, glyphs) for one in shown))


def _detector(
    one: DetectorReport, label: int, bar: int, width: int, glyphs: Glyphs
) -> RenderableType:
    head = Text(f"{one.label:<{label}}  ")
    if one.score is None:
        if width - label - 7 < NARROW:
            return Text(f"{one.label}  n/a  {one.reason or ''}")
        row = Table.grid()
        row.add_column(width=label + 2)
        row.add_column(width=5)
        row.add_column(width=width - label - 7, overflow="fold")
        row.add_row(one.label, "n/a", Text(one.reason or "", style="dim"))
        return row
    filled = round(one.score * bar)
    head.append(f"{_score(one.score)} ")
    head.append(glyphs.full * filled)
    head.append(glyphs.empty * (bar - filled), style="dim")
    head.append(f"  counts {one.share:.0%}" if one.share else "  not counted", style="dim")
    if one.reason:
        note = Table.grid()
        note.add_column(width=label + 7)
        note.add_column(width=width - label - 7, overflow="fold")
        note.add_row("", Text(one.reason, style="dim"))
        return Group(head, note)
    return head


def _moments(report: Report, glyphs: Glyphs) -> RenderableType | None:
    moments = report.prediction.anomalous_frames[:MOMENTS_SHOWN]
    if not moments:
        return None
    several = {moment.subject for moment in moments} != {report.prediction.decisive_subject}
    parts = [
        f"{clock(moment.timestamp, tenths=True)} ({_score(moment.confidence)}"
        + (f", person {moment.subject})" if several else ")")
        for moment in moments
    ]
    return Text(glyphs.dot.join(part.replace(" ", glyphs.space) for part in parts))


def _not_judged(report: Report) -> RenderableType | None:
    # The detectors' own reasons already stand beside their names.
    labels = tuple(f"{one.label}: " for one in report.detectors)
    rest = [line for line in report.limits.not_judged if not line.startswith(labels)]
    return Text("\n".join(rest)) if rest else None


def _credentials(report: Report, glyphs: Glyphs) -> Text | None:
    """Content credentials, where the file carries any; they have no part in the verdict."""
    told = report.provenance.c2pa
    if told.status in {"absent", "not_examined"}:
        return None
    parts = [told.words, *([f"Signer, as claimed: {told.signer}."] if told.signer else [])]
    return Text(glyphs.plain(" ".join(parts)))


def _limits(report: Report, glyphs: Glyphs) -> RenderableType:
    rates = report.limits.error_rates
    if rates is None:
        measured = "How often this profile errs has not been measured yet."
    else:
        measured = (
            f"On {rates.data_set}: {_rate(rates.real_called_manipulated)} of genuine clips were "
            f"called manipulated, {_rate(rates.manipulated_called_real)} of manipulated ones went "
            f"unnoticed, {_rate(rates.uncertain)} of all stayed uncertain."
        )
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    asked = [_asked(report.limits.false_alarms)] if report.limits.false_alarms else []
    for line in (*asked, measured, *report.limits.known):
        table.add_row(glyphs.bullet, Text(line))
    return Group(Text(report.limits.statement), table)


def _asked(level: FalseAlarmLevel) -> str:
    """What `--false-alarms` was answered with, and what that rests on."""
    measured = level.measured
    word = "At most" if level.guaranteed else "NOT GUARANTEED: at most"
    return (
        f"{word} {level.level:.0%} of genuine clips called manipulated were asked for: said from "
        f"{level.threshold:.2f} on. With sources left out {_rate(measured)} "
        f"({measured.low:.0%} to {measured.high:.0%}) of {measured.cases} were; {level.clips} "
        f"genuine clips allow no better promise than {level.at_most:.0%} with 95 % confidence. "
        f"{_rate(level.uncertain)} of all then stay uncertain, {_rate(level.found)} of manipulated "
        "ones are found."
    )


def _rate(rate: Rate) -> str:
    return f"{rate.value:.0%}"
