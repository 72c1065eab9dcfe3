"""The outbox of webhooks: written in the transaction that finishes a job, sent afterwards."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aura.service.tables import webhook_deliveries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from aura.service.jobs import Job


def queue(connection: Connection, job: Job, report: Mapping[str, Any] | None, at: datetime) -> None:
    """Put the news about a finished job into the outbox.

    An address that answered 410 Gone before gets nothing until a delivery is replayed.
    """
    event = f"job.{job.state.value}"
    data: dict[str, Any] = {
        "job_id": job.id,
        "status": job.state.value,
        "batch_id": job.batch_id,
        "verdict": job.verdict,
    }
    if job.error_kind is not None:
        data["error"] = {"kind": job.error_kind, "message": job.error_message}
    if report is not None:
        data["prediction"] = {
            key: report["prediction"][key]
            for key in ("overall_class", "overall_confidence", "manipulation_confidence", "reason")
        }
        # What a product's own table of results is filled with, so that it need not ask for more.
        data |= {
            "media_sha256": report["provenance"]["input"]["sha256"],
            "detector_scores": report["detector_scores"],
            "model_metadata": report["metadata"],
        }
    box = webhook_deliveries.c
    gone = sa.select(sa.func.count()).where(
        box.owner == job.owner, box.url == job.callback_url, box.state == "disabled"
    )
    disabled = connection.execute(gone).scalar_one() > 0
    connection.execute(
        webhook_deliveries.insert().values(
            id=uuid.uuid4().hex,
            job_id=job.id,
            owner=job.owner,
            url=job.callback_url,
            event=event,
            body=json.dumps({"type": event, "timestamp": at.isoformat(), "data": data}),
            state="disabled" if disabled else "pending",
            attempts=0,
            next_at=at,
            created_at=at,
        )
    )
