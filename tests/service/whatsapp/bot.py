"""The API with the bot, as tests drive it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from made import finished_report
from meta import deliver, post

from aura.service.jobs import utc_now
from aura.service.tables import detection_jobs, whatsapp_inbox, whatsapp_outbox

if TYPE_CHECKING:
    import httpx2 as httpx
    from in_thread import Api
    from meta import Meta

NEVER = threading.Event()


@dataclass
class Bot:
    """The API with the bot, whose rounds the tests call, so that nothing happens by itself."""

    api: Api
    meta: Meta
    client: httpx.Client

    def round(self, name: str) -> None:
        (extension,) = self.api.extensions
        extension.rounds[f"whatsapp-{name}"](NEVER)

    def rounds(self) -> None:
        for name in ("inbox", "notices", "outbox"):
            self.round(name)

    def get(self, *messages: dict[str, Any]) -> None:
        """Meta posts these, and what comes of it is done."""
        assert deliver(self.client, post(*messages)).status_code == 200
        self.round("outbox")
        self.rounds()

    def count(self, table: sa.Table, **values: Any) -> int:
        query = sa.select(sa.func.count()).select_from(table).filter_by(**values)
        with self.api.service.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def change(self, table: sa.Table, **values: Any) -> None:
        with self.api.service.engine.begin() as connection:
            connection.execute(table.update().values(**values))

    def make_due(self) -> None:
        for table in (whatsapp_inbox, whatsapp_outbox):
            self.change(table, next_at=utc_now() - timedelta(seconds=1))

    def jobs(self) -> list[Any]:
        with self.api.service.engine.connect() as connection:
            return list(connection.execute(sa.select(detection_jobs)))

    def finish(self, verdict: str = "fake", **changes: Any) -> str:
        """A worker takes the next job and finds this."""
        claims = self.api.service.claims
        job = claims.claim("w")
        assert job is not None
        claims.complete(job, made_report(verdict, **changes))
        return job.id


def made_report(verdict: str, **changes: Any) -> dict[str, Any]:
    """The parts of a report that the bot reads."""
    report = finished_report(verdict)
    report["prediction"] |= {
        "manipulation_confidence": 0.83,
        "confidence_interval": {"low": 0.7, "high": 0.9, "level": 0.9, "widened_for": []},
        "segments": [
            {"modality": "visual", "start": 3.0, "end": 5.5, "score": 0.9},
            {"modality": "visual", "start": 70.0, "end": 71.0, "score": 0.8},
        ],
        "anomalous_frames": [],
    }
    report["subjects"] = [{"id": 0}]
    report["detectors"] = [
        {"modality": "visual", "status": "ok"},
        {"modality": "audio", "status": "not_applicable"},
    ]
    return {**report, **changes}
