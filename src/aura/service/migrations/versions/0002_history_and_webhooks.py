"""What was found, kept for statistics, and the outbox of webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aura.service.tables import UtcTime, json_column

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "detection_history",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("input_sha256", sa.String(64), nullable=False),
        sa.Column("verdict", sa.String(20), nullable=False),
        sa.Column("score", sa.Double),
        sa.Column("confidence", sa.Double),
        json_column("detector_scores", nullable=False),
        json_column("model_metadata", nullable=False),
        json_column("stage_seconds", nullable=False),
        sa.Column("cached_from", sa.String(32)),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_detection_history"),
    )
    op.create_index("ix_detection_history_owner", "detection_history", ["owner", "created_at"])
    op.create_index("ix_detection_history_created", "detection_history", ["created_at"])
    if op.get_bind().dialect.name == "postgresql":
        for name, column in {"scores": "detector_scores", "models": "model_metadata"}.items():
            op.create_index(
                f"ix_detection_history_{name}",
                "detection_history",
                [column],
                postgresql_using="gin",
            )
    op.create_table(
        "webhook_secrets",
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("secret", sa.String(100), nullable=False),
        sa.Column("expires_at", UtcTime),
        sa.PrimaryKeyConstraint("owner", "created_at", name="pk_webhook_secrets"),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
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
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'failed', 'disabled')",
            name=op.f("ck_webhook_deliveries_state"),
        ),
    )
    for name, columns in {
        "due": ["state", "next_at"],
        "job": ["job_id"],
        "url": ["owner", "url"],
    }.items():
        op.create_index(f"ix_webhook_deliveries_{name}", "webhook_deliveries", columns)


def downgrade() -> None:
    """Remove the tables, with everything in them."""
    op.drop_table("webhook_deliveries")
    op.drop_table("webhook_secrets")
    op.drop_table("detection_history")
