"""The tables, for SQLite and PostgreSQL alike; `migrations` makes a database look like this."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aura.service.jobs import JobState

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

ID_LENGTH = 32  # hexadecimal digits of a random 128-bit number
STATES = tuple(state.value for state in JobState)


class UtcTime(sa.types.TypeDecorator[datetime]):
    """An aware time in UTC, on SQLite as well, which keeps none; a naive one is refused."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone can't be stored")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def json_column(name: str, **options: Any) -> sa.Column[Any]:
    """A JSON column: JSONB on PostgreSQL, text on SQLite; None is SQL's NULL."""
    kind = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
    return sa.Column(name, kind, **options)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

detection_jobs = sa.Table(
    "detection_jobs",
    metadata,
    sa.Column("id", sa.String(ID_LENGTH), primary_key=True),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    # Place in the queue that is fair between owners: see `store.submit`.
    sa.Column("turn", sa.BigInteger, nullable=False),
    sa.Column("profile", sa.String(100), nullable=False),
    sa.Column("faces", sa.String(20), nullable=False),
    sa.Column("fps", sa.Double),
    sa.Column("explain", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("media_key", sa.Text),
    sa.Column("media_sha256", sa.String(64)),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("duration", sa.Double),
    sa.Column("source_url", sa.Text),
    sa.Column("cache_key", sa.String(64)),
    sa.Column("cached_from", sa.String(ID_LENGTH)),
    sa.Column("keep_media", sa.Boolean, nullable=False),
    sa.Column("callback_url", sa.Text),
    sa.Column("batch_id", sa.String(ID_LENGTH)),
    sa.Column("idempotency_key", sa.String(255)),
    sa.Column("request_hash", sa.String(64)),
    # Counts claims and never goes back: the number that a worker must hold to change the job.
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("max_attempts", sa.Integer, nullable=False),
    sa.Column("lease_until", UtcTime),
    sa.Column("worker", sa.String(200)),
    sa.Column("stage", sa.String(50)),
    sa.Column("percent", sa.Double, nullable=False),
    sa.Column("last_event", sa.Integer, nullable=False),
    sa.Column("error_kind", sa.String(50)),
    sa.Column("error_message", sa.Text),
    sa.Column("verdict", sa.String(20)),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("queued_at", UtcTime, nullable=False),
    sa.Column("started_at", UtcTime),
    sa.Column("finished_at", UtcTime),
    sa.Column("rung_at", UtcTime),
    sa.Column("erased_at", UtcTime),
    json_column("report"),
    sa.CheckConstraint(sa.column("state").in_(STATES), name="state"),
    sa.CheckConstraint("percent >= 0 AND percent <= 100", name="percent"),
    sa.Index("ix_detection_jobs_queue", "state", "turn", "created_at"),
    sa.Index("ix_detection_jobs_owner", "owner", "created_at", "id"),
    sa.Index("ix_detection_jobs_cache", "cache_key", "state"),
    sa.Index("ix_detection_jobs_batch", "batch_id"),
    # The same bytes are analysed by one worker at a time, whoever sent them.
    sa.Index(
        "uq_detection_jobs_running",
        "cache_key",
        unique=True,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    ),
    sa.Index("uq_detection_jobs_idempotency", "owner", "idempotency_key", unique=True),
)

job_events = sa.Table(
    "job_events",
    metadata,
    sa.Column(
        "job_id",
        sa.String(ID_LENGTH),
        sa.ForeignKey("detection_jobs.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("kind", sa.String(30), nullable=False),
    json_column("data", nullable=False),
)

# Files that were drawn for a job. Jobs that were answered with the same report share the bytes
# under `key`, which are deleted with the last row that names them.
job_artifacts = sa.Table(
    "job_artifacts",
    metadata,
    sa.Column(
        "job_id",
        sa.String(ID_LENGTH),
        sa.ForeignKey("detection_jobs.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("media_type", sa.String(100), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Index("ix_job_artifacts_key", "key"),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("secret_sha256", sa.String(64), nullable=False),
    json_column("scopes", nullable=False),
    sa.Column("daily_limit", sa.Integer),
    sa.Column("concurrent_limit", sa.Integer),
    sa.Column("note", sa.Text),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("last_used_at", UtcTime),
    sa.Column("revoked_at", UtcTime),
    sa.Index("ix_api_keys_owner", "owner"),
)

detection_history = sa.Table(
    "detection_history",
    metadata,
    sa.Column("job_id", sa.String(ID_LENGTH), primary_key=True),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("input_sha256", sa.String(64), nullable=False),
    sa.Column("verdict", sa.String(20), nullable=False),
    sa.Column("score", sa.Double),
    sa.Column("confidence", sa.Double),
    json_column("detector_scores", nullable=False),
    json_column("model_metadata", nullable=False),
    json_column("stage_seconds", nullable=False),
    sa.Column("cached_from", sa.String(ID_LENGTH)),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Index("ix_detection_history_owner", "owner", "created_at"),
    sa.Index("ix_detection_history_created", "created_at"),
    # So that `detector_scores @> '{"lip_sync_error": ...}'` and the like are quick (no such index
    # on SQLite, where it is an ordinary one on the text and of little use, so it is left out).
    sa.Index("ix_detection_history_scores", "detector_scores", postgresql_using="gin").ddl_if(
        dialect="postgresql"
    ),
    sa.Index("ix_detection_history_models", "model_metadata", postgresql_using="gin").ddl_if(
        dialect="postgresql"
    ),
)

webhook_secrets = sa.Table(
    "webhook_secrets",
    metadata,
    sa.Column("owner", sa.String(200), primary_key=True),
    sa.Column("created_at", UtcTime, primary_key=True),
    sa.Column("secret", sa.String(100), nullable=False),
    sa.Column("expires_at", UtcTime),  # set by a rotation: it signs along until then
)

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("id", sa.String(ID_LENGTH), primary_key=True),
    sa.Column("job_id", sa.String(ID_LENGTH), nullable=False),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("event", sa.String(50), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_at", UtcTime, nullable=False),
    sa.Column("last_status", sa.Integer),
    sa.Column("last_error", sa.Text),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("delivered_at", UtcTime),
    sa.CheckConstraint(
        sa.column("state").in_(("pending", "delivered", "failed", "disabled")), name="state"
    ),
    sa.Index("ix_webhook_deliveries_due", "state", "next_at"),
    sa.Index("ix_webhook_deliveries_job", "job_id"),
    sa.Index("ix_webhook_deliveries_url", "owner", "url"),
)

# The WhatsApp bot: who wrote, what they wrote, what they are to be told. Kept here because a
# database has one line of migrations; what the columns mean is told in `integrations.whatsapp`.
whatsapp_senders = sa.Table(
    "whatsapp_senders",
    metadata,
    sa.Column("id", sa.String(ID_LENGTH), primary_key=True),
    # A phone number or whatever else Meta delivers to. Jobs name the id and never this.
    sa.Column("address", sa.String(200), nullable=False),
    sa.Column("is_group", sa.Boolean, nullable=False),
    sa.Column("language", sa.String(8), nullable=False),
    sa.Column("wrote_at", UtcTime, nullable=False),
    sa.Column("limit_told_at", UtcTime),
)

whatsapp_inbox = sa.Table(
    "whatsapp_inbox",
    metadata,
    # Meta's message id: what comes twice is taken in once.
    sa.Column("id", sa.String(255), primary_key=True),
    sa.Column("sender", sa.String(ID_LENGTH), nullable=False),
    sa.Column("kind", sa.String(30), nullable=False),
    json_column("content", nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_at", UtcTime, nullable=False),
    sa.Column("received_at", UtcTime, nullable=False),
    sa.Column("last_error", sa.Text),
    sa.Column("job_id", sa.String(ID_LENGTH)),
    sa.Column("progress_told", sa.Integer, nullable=False),
    sa.Column("progress_told_at", UtcTime),
    sa.CheckConstraint(sa.column("state").in_(("new", "analysing", "done")), name="state"),
    sa.Index("ix_whatsapp_inbox_due", "state", "next_at"),
    sa.Index("ix_whatsapp_inbox_sender", "sender"),
)

whatsapp_outbox = sa.Table(
    "whatsapp_outbox",
    metadata,
    sa.Column("id", sa.String(ID_LENGTH), primary_key=True),
    sa.Column("sender", sa.String(ID_LENGTH), nullable=False),  # whom it is for
    # Place among the messages to one sender, who gets them in this order.
    sa.Column("number", sa.Integer, nullable=False),
    json_column("content", nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_at", UtcTime, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("sent_at", UtcTime),
    sa.Column("message_id", sa.String(255)),
    sa.Column("last_error", sa.Text),
    sa.CheckConstraint(
        sa.column("state").in_(("pending", "sent", "parked", "failed")), name="state"
    ),
    sa.Index("ix_whatsapp_outbox_due", "state", "next_at"),
    sa.Index("ix_whatsapp_outbox_sender", "sender", "number", unique=True),
)

web_sessions = sa.Table(
    "web_sessions",
    metadata,
    sa.Column("token_sha256", sa.String(64), primary_key=True),
    sa.Column("key_id", sa.String(16), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Index("ix_web_sessions_expires_at", "expires_at"),
)

shared_links = sa.Table(
    "shared_links",
    metadata,
    sa.Column("id", sa.String(ID_LENGTH), primary_key=True),
    sa.Column("token_sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("job_id", sa.String(ID_LENGTH), nullable=False),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Index("ix_shared_links_job_id", "job_id"),
    sa.Index("ix_shared_links_expires_at", "expires_at"),
)
