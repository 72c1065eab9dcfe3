"""Scores over time as lanes on one axis, one group for each person; thinned for the screen."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aura.explain.svg import clock, ticks
from aura.web.reading import dig, length_of, number, rows
from aura.web.said import said
from aura.web.verdict_view import label_of, strength

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.web.texts import Texts

MAX_POINTS = 240  # of a lane: one for every three or four pixels of a wide screen
MAX_PEOPLE = 8  # with lanes of their own; the others are counted
WIDTH, HEIGHT = 1000.0, 40.0  # of a lane's own units
TOO_FAR = 1.6  # seconds between the middles of two windows over which no line is drawn
ORDER = ("visual", "joint", "audio", "sync", "temporal")


@dataclass(frozen=True)
class Span:
    """A flagged stretch; `left` and `width` in per cent of the axis."""

    start: float
    end: float
    left: float
    width: float
    label: str


@dataclass(frozen=True)
class Lane:
    """One detector over time. `line` and `area` are SVG paths; `points` are (seconds, score)."""

    label: str
    modality: str
    score: float | None
    reason: str | None
    line: str
    area: str
    spans: tuple[Span, ...]
    points: tuple[tuple[float, float], ...]
    total: int


@dataclass(frozen=True)
class Group:
    """The lanes of one person, or of the whole clip (`subject` None)."""

    subject: int | None
    decisive: bool
    title: str
    note: str
    lanes: tuple[Lane, ...]


@dataclass(frozen=True)
class Tick:
    """A time on the axis; `at` in per cent."""

    at: float
    label: str


@dataclass
class Tracks:
    """Everything under the player."""

    length: float
    ticks: list[Tick] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    more_people: int = 0
    sound_spans: tuple[Span, ...] = ()


def tracks_of(report: Any, t: Texts) -> Tracks:
    """The lanes of a report."""
    length = length_of(report)
    tracks = Tracks(length, [Tick(100 * at / length, clock(at)) for at in ticks(0.0, length)])
    by_person: dict[int | None, list[dict[str, Any]]] = {}
    for one in rows(report, "detectors"):
        by_person.setdefault(one.get("subject"), []).append(one)
    people = rows(report, "subjects")
    people.sort(key=lambda one: (not one.get("decisive"), -(number(one, "score") or 0.0)))
    for person in people[:MAX_PEOPLE]:
        found = by_person.get(person.get("id"), [])
        tracks.groups.append(_group(report, person, found, length, t))
    tracks.more_people = max(0, len(people) - MAX_PEOPLE)
    if by_person.get(None):
        tracks.groups.append(
            Group(None, False, t("tracks.clip"), "", _lanes(report, by_person[None], length, t))
        )
    tracks.sound_spans = _sound_spans(report, length, t)
    return tracks


def _group(
    report: Any, person: dict[str, Any], found: list[dict[str, Any]], length: float, t: Texts
) -> Group:
    score = number(person, "score")
    decisive = bool(person.get("decisive"))
    notes = [t("tracks.decides")] if decisive and len(rows(report, "subjects")) > 1 else []
    if score is None:
        reason = person.get("reason")
        notes.append(said(reason, t).text if reason else t("card.not_judged"))
    else:
        notes.append(t("tracks.person_score", score=t.number(score), words=strength(score, t)))
    seen = (number(person, "first_seen"), number(person, "last_seen"))
    if seen[0] is not None and seen[1] is not None:
        notes.append(t("tracks.seen", start=clock(seen[0]), end=clock(seen[1])))
    number_of = person.get("id")
    title = t("page.person", n=number_of)
    subject = number_of if isinstance(number_of, int) else None
    return Group(subject, decisive, title, " · ".join(notes), _lanes(report, found, length, t))


def _lanes(
    report: Any, detectors: Sequence[dict[str, Any]], length: float, t: Texts
) -> tuple[Lane, ...]:
    def place(one: dict[str, Any]) -> int:
        modality = one.get("modality")
        return ORDER.index(modality) if modality in ORDER else len(ORDER)

    return tuple(_lane(report, one, length, t) for one in sorted(detectors, key=place))


def _lane(report: Any, one: dict[str, Any], length: float, t: Texts) -> Lane:
    label = label_of(one, t)
    windows = []
    for window in rows(one, "windows"):
        start, end, score = (number(window, name) for name in ("start", "end", "score"))
        if start is not None and end is not None and score is not None:
            windows.append(((start + end) / 2, score))
    step = _step(windows)
    points = thin(windows, MAX_POINTS)
    # Thinned points are further apart than windows are; a gap is one only if windows left it.
    gap = max(TOO_FAR, 2.5 * step, 2.5 * length / MAX_POINTS)
    line, area = _paths(points, length, gap)
    spans = [
        _span(segment, length, t, label)
        for segment in rows(report, "prediction", "segments")
        if segment.get("subject") == one.get("subject")
        and one.get("name") in (segment.get("detectors") or ())
    ]
    return Lane(
        label=label,
        modality=str(one.get("modality") or ""),
        score=number(one, "score"),
        reason=str(one["reason"]) if one.get("reason") else None,
        line=line,
        area=area,
        spans=tuple(spans),
        points=tuple((round(at, 2), round(score, 3)) for at, score in points),
        total=int(number(one, "windows_total") or len(windows)),
    )


def thin(points: list[tuple[float, float]], limit: int) -> list[tuple[float, float]]:
    """At most `limit` points: of each stretch of equal count the highest, so no peak is lost."""
    if len(points) <= limit:
        return points
    edges = [round(index * len(points) / limit) for index in range(limit + 1)]
    return [
        max(points[start:end], key=lambda point: point[1])
        for start, end in itertools.pairwise(edges)
    ]


def _step(points: list[tuple[float, float]]) -> float:
    between = sorted(later[0] - one[0] for one, later in itertools.pairwise(points))
    return between[len(between) // 2] if between else 0.0


def _paths(points: Sequence[tuple[float, float]], length: float, gap: float) -> tuple[str, str]:
    """The line through the points, and the area under it; broken where windows are missing."""
    runs: list[list[tuple[float, float]]] = []
    before = -gap - 1.0
    for at, score in points:
        if not runs or at - before > gap:
            runs.append([])
        runs[-1].append((WIDTH * at / length, HEIGHT * (1 - score)))
        before = at
    line, area = [], []
    for run in runs:
        # A dot would have no length.
        drawn = run if len(run) > 1 else [(run[0][0] - 2, run[0][1]), (run[0][0] + 2, run[0][1])]
        through = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)
        line.append(f"M{through}")
        area.append(f"M{drawn[0][0]:.1f},{HEIGHT:g} {through} {drawn[-1][0]:.1f},{HEIGHT:g}Z")
    return "".join(line), "".join(area)


def _span(segment: dict[str, Any], length: float, t: Texts, label: str) -> Span:
    start, end = number(segment, "start") or 0.0, number(segment, "end") or 0.0
    score = number(segment, "score")
    told = t("tracks.flagged", label=label, start=clock(start), end=clock(end))
    if score is not None:
        told += ", " + t("tracks.score", score=t.number(score))
    left = min(100.0, max(0.0, 100 * start / length))
    return Span(start, end, left, max(0.4, min(100.0 - left, 100 * (end - start) / length)), told)


def _sound_spans(report: Any, length: float, t: Texts) -> tuple[Span, ...]:
    flagged = rows(report, "prediction", "audio_anomalies")
    spans = [_span(one, length, t, t("modality.audio")) for one in flagged]
    spans += [
        _span(segment, length, t, t("modality.sync"))
        for segment in rows(report, "prediction", "segments")
        if segment.get("modality") == "sync"
    ]
    return tuple(spans)


def lane_words(lane: Lane, t: Texts) -> str:
    """A lane for those who don't see it: its range, and what is flagged."""
    if not lane.points:
        return lane.label
    scores = [score for _, score in lane.points]
    peak = max(lane.points, key=lambda point: point[1])
    told = t(
        "tracks.lane",
        label=lane.label,
        low=t.number(min(scores)),
        high=t.number(peak[1]),
        time=clock(peak[0]),
    )
    return ". ".join([told, *(span.label for span in lane.spans)])


def hover_data(tracks: Tracks) -> dict[str, Any]:
    """What the page's script needs to name values under the pointer."""
    return {
        "length": tracks.length,
        "lanes": [
            {"label": lane.label, "group": group.title, "points": lane.points}
            for group in tracks.groups
            for lane in group.lanes
        ],
    }


def spectrogram_of(report: Any, length: float) -> dict[str, Any] | None:
    """Where the spectrogram's picture lies on the axis, in per cent."""
    told = dig(report, "explanation", "spectrogram")
    start, end = number(told, "start"), number(told, "end")
    file = dig(told, "picture", "file")
    if start is None or end is None or not isinstance(file, str):
        return None
    return {
        "file": file,
        "left": 100 * start / length,
        "width": max(0.5, min(100.0, 100 * (end - start) / length)),
        "high_hz": number(told, "high_hz") or 8000.0,
    }
