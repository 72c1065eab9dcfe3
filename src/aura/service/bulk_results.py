"""Results of a run over many videos as one Parquet file, one row a video, in the manifest's order.

The manifest's own columns come first, under their names; where one is called like a column of ours,
it gets `manifest_` before its name.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aura.errors import MissingExtra, UsageError
from aura.report import DetectorScores, pretty_json
from aura.service.database import reading
from aura.service.tables import detection_jobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from aura.service.bulk import Bulk
    from aura.service.context import Service
    from aura.service.manifest import Row

AT_ONCE = 500  # rows of a row group, whose reports are in memory together
TEXTS = ("place", "job_id", "status", "verdict", "reason", "error_kind", "error_message")
MORE_TEXTS = ("media_sha256", "model_version", "report")
SCORES = tuple(DetectorScores.model_fields)
NUMBERS = ("score", "confidence", "interval_low", "interval_high", *SCORES, "duration_sec")
ERASED = ("erased", "the result was erased; submit the video again under another user")


def need_parquet() -> None:
    """Before hours of work, rather than after them.

    Raises:
        MissingExtra: nothing here writes Parquet.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415, F401
    except ImportError:
        raise MissingExtra("results as Parquet", "parquet") from None


def write_results(
    service: Service, bulk: Bulk, rows: list[Row], target: Path, *, reports: bool = False
) -> int:
    """Write the file, whole or not at all; returns how many rows have a report.

    Args:
        service: whose jobs they are.
        bulk: the run.
        rows: the manifest.
        target: where to.
        reports: whether each row carries its whole report, as JSON.

    Raises:
        UsageError: it can't be written there.
    """
    import pyarrow as pa  # noqa: PLC0415 - see need_parquet
    import pyarrow.parquet as pq  # noqa: PLC0415

    texts = (*TEXTS, *MORE_TEXTS) if reports else (*TEXTS, *MORE_TEXTS[:-1])
    ours = {*TEXTS, *MORE_TEXTS, *NUMBERS}
    theirs = {name: name if name not in ours else f"manifest_{name}" for name in _names(rows)}
    schema = pa.schema(
        [
            *((name, pa.string()) for name in theirs.values()),
            *((name, pa.string()) for name in texts),
            *((name, pa.float64()) for name in NUMBERS),
        ]
    )
    part, completed = target.with_name(f".{target.name}.part"), 0
    try:
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for start in range(0, len(rows), AT_ONCE):
                chunk = rows[start : start + AT_ONCE]
                found = list(_filled(service, bulk, chunk, theirs))
                completed += sum(one["status"] == "completed" for one in found)
                writer.write_table(pa.Table.from_pylist(found, schema=schema))
        os.replace(part, target)  # noqa: PTH105 - as atomic as it gets
    except OSError as error:
        raise UsageError(f"--out {target} can't be written ({error.strerror or error})") from None
    finally:
        part.unlink(missing_ok=True)
    return completed


def _names(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.columns))


def _filled(
    service: Service, bulk: Bulk, rows: list[Row], theirs: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    jobs = detection_jobs.c
    keys = {bulk.keys[row.number] for row in rows}
    columns = (
        *(jobs.id, jobs.idempotency_key, jobs.state, jobs.error_kind, jobs.error_message),
        *(jobs.media_sha256, jobs.duration, jobs.report),
    )
    query = sa.select(*columns).where(jobs.owner == bulk.owner, jobs.idempotency_key.in_(keys))
    with reading(service.engine) as connection:
        found = {row.idempotency_key: dict(row._mapping) for row in connection.execute(query)}
    for row in rows:
        values: dict[str, Any] = {theirs[name]: value for name, value in row.columns.items()}
        values["place"] = str(row.path) if row.path is not None else row.url
        job = found.get(bulk.keys[row.number])
        if job is None:
            kind, text = bulk.progress.refused.get(row.number, ERASED)
            yield {**values, "status": "refused", "error_kind": kind, "error_message": text}
        else:
            yield {**values, **_of_job(job)}


def _of_job(job: Mapping[str, Any]) -> dict[str, Any]:
    values = {
        "job_id": job["id"],
        "status": job["state"],
        "error_kind": job["error_kind"],
        "error_message": job["error_message"],
        "media_sha256": job["media_sha256"],
        "duration_sec": job["duration"],
    }
    report = job["report"]
    if report is None:
        return values
    prediction = report["prediction"]
    interval = prediction["confidence_interval"] or {}
    return {
        **values,
        **{name: report["detector_scores"].get(name) for name in SCORES},
        "verdict": prediction["overall_class"],
        "reason": prediction["reason"],
        "score": prediction["manipulation_confidence"],
        "confidence": prediction["overall_confidence"],
        "interval_low": interval.get("low"),
        "interval_high": interval.get("high"),
        "model_version": report["metadata"]["model_version"],
        "report": pretty_json(report),
    }
