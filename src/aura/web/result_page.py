"""Everything that the page of a result shows, for its owner and for those who got a link."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aura.service.routes_artifacts import files_of
from aura.web.entries import kind_of
from aura.web.moments_view import moments_of, pictures_of
from aura.web.reading import dig, loose, rows
from aura.web.tracks import hover_data, spectrogram_of, tracks_of
from aura.web.verdict_view import cards_of, limits_of, verdict_of

if TYPE_CHECKING:
    from datetime import datetime

    from aura.service.context import Service
    from aura.service.jobs import Job
    from aura.web.texts import Texts


def result_values(
    service: Service, job: Job, report: dict[str, Any], t: Texts, files: str
) -> dict[str, Any]:
    """What `result.html.j2` is given.

    Args:
        service: where the files are. job: finished. report: as stored, of any age.
        t: words. files: the address under which the job's files are.
    """
    there = {one.name for one in files_of(service, job, report)}
    tracks = tracks_of(report, t)
    moments, more = moments_of(report, t)
    spectrogram = spectrogram_of(report, tracks.length)
    pictures = [one for one in pictures_of(report, t) if {one.plain, one.heat} <= there]
    return {
        "job": job,
        "kind": kind_of(job),
        "files": files,
        "there": there,
        "kept_until": _kept_until(service, job),
        "verdict": verdict_of(report, t),
        "cards": cards_of(report, t),
        "limits": limits_of(report, t),
        "tracks": tracks,
        "hover": hover_data(tracks),
        "spectrogram": spectrogram if spectrogram and spectrogram["file"] in there else None,
        "moments": moments,
        "more_moments": more,
        "pictures": pictures,
        "explanation": loose(dig(report, "explanation")),
        "shown_as": dig(report, "provenance", "input", "kind") or "video",
        "has_boxes": bool(rows(report, "explanation", "face_boxes")),
        "provenance": loose(dig(report, "provenance") or {}),
        "metadata": loose(dig(report, "metadata") or {}),
        "digest": dig(report, "deterministic_digest"),
        "signature": loose(dig(report, "signature")),
        "faces": loose(rows(report, "faces")),
    }


def _kept_until(service: Service, job: Job) -> datetime | None:
    """When the housekeeping deletes the video."""
    if not job.keep_media or job.media_key is None or job.finished_at is None:
        return None
    return job.finished_at + timedelta(days=service.settings.media_days)
