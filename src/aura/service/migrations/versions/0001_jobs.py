"""Jobs, their events, and the keys of those who may submit them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aura.service.tables import UtcTime, json_column

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "detection_jobs",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("turn", sa.BigInteger, nullable=False),
        sa.Column("profile", sa.String(100), nullable=False),
        sa.Column("faces", sa.String(20), nullable=False),
        sa.Column("fps", sa.Double),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("media_key", sa.Text),
        sa.Column("media_sha256", sa.String(64)),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("duration", sa.Double),
        sa.Column("source_url", sa.Text),
        sa.Column("cache_key", sa.String(64)),
        sa.Column("cached_from", sa.String(32)),
        sa.Column("keep_media", sa.Boolean, nullable=False),
        sa.Column("callback_url", sa.Text),
        sa.Column("batch_id", sa.String(32)),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("request_hash", sa.String(64)),
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
        sa.PrimaryKeyConstraint("id", name="pk_detection_jobs"),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'completed', 'failed', 'cancelled', 'dead')",
            name=op.f("ck_detection_jobs_state"),
        ),
        sa.CheckConstraint(
            "percent >= 0 AND percent <= 100", name=op.f("ck_detection_jobs_percent")
        ),
    )
    for name, columns in {
        "queue": ["state", "turn", "created_at"],
        "owner": ["owner", "created_at", "id"],
        "cache": ["cache_key", "state"],
        "batch": ["batch_id"],
    }.items():
        op.create_index(f"ix_detection_jobs_{name}", "detection_jobs", columns)
    running = sa.text("state = 'running'")
    op.create_index(
        "uq_detection_jobs_running",
        "detection_jobs",
        ["cache_key"],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )
    op.create_index(
        "uq_detection_jobs_idempotency",
        "detection_jobs",
        ["owner", "idempotency_key"],
        unique=True,
    )
    op.create_table(
        "job_events",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("at", UtcTime, nullable=False),
        sa.Column("kind", sa.String(30), nullable=False),
        json_column("data", nullable=False),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_job_events"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["detection_jobs.id"], ondelete="CASCADE", name="fk_job_events_job_id"
        ),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        json_column("scopes", nullable=False),
        sa.Column("daily_limit", sa.Integer),
        sa.Column("concurrent_limit", sa.Integer),
        sa.Column("note", sa.Text),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("last_used_at", UtcTime),
        sa.Column("revoked_at", UtcTime),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_index("ix_api_keys_owner", "api_keys", ["owner"])


def downgrade() -> None:
    """Remove the tables, with everything in them."""
    op.drop_table("api_keys")
    op.drop_table("job_events")
    op.drop_table("detection_jobs")
