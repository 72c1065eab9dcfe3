"""Flagged moments as a table, and the pictures that show why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aura.explain.svg import clock
from aura.web.reading import dig, number, rows
from aura.web.verdict_view import label_of, strength

if TYPE_CHECKING:
    from aura.web.texts import Texts

MAX_ROWS = 60


@dataclass(frozen=True)
class Moment:
    """One row: something to look at or to listen to."""

    start: float
    end: float | None
    when: str
    what: str
    person: str
    score: float | None
    words: str
    reason: str | None


@dataclass(frozen=True)
class Picture:
    """A moment as a picture, plain and with the map of what raised the score."""

    at: float
    when: str
    plain: str
    heat: str
    width: int
    height: int
    title: str
    words: str
    reliable: bool
    marked: bool
    flagged: bool


def moments_of(report: Any, t: Texts) -> tuple[list[Moment], int]:
    """Flagged stretches and pictures in order of time, and how many more there are."""
    found = [
        _moment(one, t, t.maybe(f"modality.{one.get('modality')}", str(one.get("modality"))))
        for one in rows(report, "prediction", "segments")
    ]
    found += [
        _moment(one, t, t("modality.audio"), reason=one.get("reason"))
        for one in rows(report, "prediction", "audio_anomalies")
    ]
    for one in rows(report, "prediction", "anomalous_frames"):
        at = number(one, "timestamp")
        if at is not None:
            shown = {**one, "start": at, "end": None, "score": one.get("confidence")}
            found.append(_moment(shown, t, t("moments.picture")))
    found.sort(key=lambda one: (one.start, one.end is None))
    return found[:MAX_ROWS], max(0, len(found) - MAX_ROWS)


def _moment(one: dict[str, Any], t: Texts, what: str, reason: object = None) -> Moment:
    start, end, score = (number(one, name) for name in ("start", "end", "score"))
    begins = start or 0.0
    when = clock(begins) if end is None else f"{clock(begins)} – {clock(end)}"
    person = one.get("subject")
    return Moment(
        start=begins,
        end=end,
        when=when,
        what=what,
        person=t("page.person", n=person) if isinstance(person, int) else t("tracks.clip"),
        score=score,
        words=strength(score, t) if score is not None else t("card.not_judged"),
        reason=str(reason) if reason else None,
    )


def pictures_of(report: Any, t: Texts) -> list[Picture]:
    """The moments that were drawn, worst first."""
    labels = {one.get("name"): label_of(one, t) for one in rows(report, "detectors")}
    found = []
    for one in rows(report, "explanation", "maps"):
        plain, heat = dig(one, "frame", "file"), dig(one, "heat", "file")
        at = number(one, "timestamp")
        if not isinstance(plain, str) or not isinstance(heat, str) or at is None:
            continue
        cells = one.get("cells") or []
        label = labels.get(one.get("detector"), str(one.get("detector")))
        score = number(one, "score")
        found.append(
            Picture(
                at=at,
                when=clock(at),
                plain=plain,
                heat=heat,
                width=int(number(one, "frame", "width") or 0),
                height=int(number(one, "frame", "height") or 0),
                title=f"{label} {t.number(score)}" if score is not None else label,
                words=str(one.get("words") or ""),
                reliable=bool(one.get("reliable")),
                marked=any(cell > 0 for row in cells for cell in row),
                flagged=bool(one.get("flagged")),
            )
        )
    return found


def overlay_of(report: Any) -> dict[str, Any]:
    """What is drawn over the player: face boxes as (time, person, box), and maps with corners."""
    boxes = [
        [number(one, "timestamp"), one.get("subject"), one.get("box")]
        for one in rows(report, "explanation", "face_boxes")
    ]
    maps = [
        {
            "at": number(one, "timestamp"),
            "person": one.get("subject"),
            "cells": one.get("cells"),
            "corners": one.get("corners"),
            "reliable": bool(one.get("reliable")),
        }
        for one in rows(report, "explanation", "maps")
    ]
    return {"boxes": boxes, "maps": maps}
