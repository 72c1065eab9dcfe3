"""Made-up submissions, and a report of the real shape, for tests of the jobs table."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from aura.service.jobs import Options, Submission
from aura.service.store import new_id


def wish(owner: str, content: str = "", **changes: Any) -> Submission:
    """A submission of `content`; without it the bytes are like no other's."""
    job_id = new_id()
    digest = hashlib.sha256((content or job_id).encode()).hexdigest()
    made = Submission(
        id=job_id,
        owner=owner,
        options=Options(),
        filename=f"{owner}.mp4",
        media_key=f"media/{job_id}",
        media_sha256=digest,
        size_bytes=1000,
        duration=1.0,
        cache_key=digest,
    )
    return replace(made, **changes)


def finished_report(verdict: str = "uncertain", sha256: str = "0" * 64) -> dict[str, Any]:
    """The parts of a report that the store reads."""
    return {
        "job_id": None,
        "prediction": {
            "overall_class": verdict,
            "overall_confidence": 0.7,
            "manipulation_confidence": 0.3,
            "reason": None,
        },
        "detector_scores": {"lip_sync_error": 0.25, "visual_artifacts": None},
        "provenance": {"input": {"name": "else.mp4", "path": "/srv/else.mp4", "sha256": sha256}},
        "metadata": {"model_version": "lite-1", "models_used": []},
    }
