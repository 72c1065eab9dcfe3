"""From a report to what the service keeps of it; nothing is added to what it says."""

from __future__ import annotations

import functools
import hashlib
import json
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from aura import __version__, registry
from aura.profiles import equipped, load_profile
from aura.report import SCHEMA_VERSION, Report, pretty_json
from aura.runtime import ModelCard, find_card, read_card, weights_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from aura.service.jobs import Job, Options

    Sign = Callable[[Mapping[str, Any]], dict[str, Any]]


def personal(report: Mapping[str, Any], job: Job, sign: Sign | None = None) -> dict[str, Any]:
    """The report with this job's id and file name; where the server keeps files is no news.

    Only fields that `deterministic_digest` leaves out are touched, so it stays true. `sign` then
    vouches for it.
    """
    provenance = report["provenance"]
    names = {"name": job.filename, "path": job.filename}
    own = {
        **report,
        "job_id": job.id,
        "provenance": {**provenance, "input": {**provenance["input"], **names}},
    }
    return own if sign is None else sign(own)


def written(report: Mapping[str, Any]) -> str:
    """A report as a file, in the order of the schema, which a database does not keep."""
    plain = pretty_json(report) + "\n"
    try:
        text = Report.model_validate_json(plain).to_json()
    except ValidationError:  # about a picture, or of another version's schema
        return plain
    return text if json.loads(text) == report else plain  # nothing that was signed may change


def history_row(
    job: Job, report: Mapping[str, Any], stage_seconds: Mapping[str, float], at: datetime
) -> dict[str, Any]:
    """A row of `detection_history`."""
    prediction = report["prediction"]
    return {
        "job_id": job.id,
        "owner": job.owner,
        "input_sha256": report["provenance"]["input"]["sha256"],
        "verdict": prediction["overall_class"],
        "score": prediction["manipulation_confidence"],
        "confidence": prediction["overall_confidence"],
        "detector_scores": report["detector_scores"],
        "model_metadata": report["metadata"],
        "stage_seconds": dict(stage_seconds),
        "cached_from": job.cached_from,
        "created_at": at,
    }


def analysis_version(profile: str) -> str:
    """SHA-256 over everything but bytes and options that decides a report of this profile.

    Found once a process: API and workers are restarted after a promotion.

    Raises:
        WeightsError: a network is not here.
    """
    return _analysis_version(profile, registry.home())


@functools.cache
def _analysis_version(profile: str, _home: Path) -> str:
    settings = equipped(load_profile(profile))  # calibration comes with a promoted network
    parts = {
        "aura": __version__,
        "schema": SCHEMA_VERSION,
        "config": settings.config_sha256,
        "weights": {card.name: card.sha256 for card in cards(profile)},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def cache_key(media_sha256: str, options: Options, scope: str = "") -> str:
    """What two jobs share whose reports would say the same.

    `scope` keeps users apart where one must not learn that another had the same video.
    """
    parts = [
        media_sha256,
        options.profile,
        options.faces,
        repr(options.fps),
        repr(options.explain),
        analysis_version(options.profile),
        scope,
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def cards(profile: str) -> tuple[ModelCard, ...]:
    """Cards of all networks that take part in a profile's analyses.

    Raises:
        WeightsError: one of them is not here.
    """
    from aura.pipeline import SUBJECT_MODELS  # noqa: PLC0415 - imports the decoder

    names = dict.fromkeys((*SUBJECT_MODELS, *load_profile(profile).models))
    return tuple(read_card(find_card(name) or weights_dir() / f"{name}.json") for name in names)
