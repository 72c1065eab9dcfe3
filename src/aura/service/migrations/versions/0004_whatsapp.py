"""The WhatsApp bot's senders, inbox and outbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aura.service.tables import UtcTime, json_column

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "whatsapp_senders",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("address", sa.String(200), nullable=False),
        sa.Column("is_group", sa.Boolean, nullable=False),
        sa.Column("language", sa.String(8), nullable=False),
        sa.Column("wrote_at", UtcTime, nullable=False),
        sa.Column("limit_told_at", UtcTime),
        sa.PrimaryKeyConstraint("id", name="pk_whatsapp_senders"),
    )
    op.create_table(
        "whatsapp_inbox",
        sa.Column("id", sa.String(255), nullable=False),
        sa.Column("sender", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(30), nullable=False),
        json_column("content", nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", UtcTime, nullable=False),
        sa.Column("received_at", UtcTime, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.Column("job_id", sa.String(32)),
        sa.Column("progress_told", sa.Integer, nullable=False),
        sa.Column("progress_told_at", UtcTime),
        sa.PrimaryKeyConstraint("id", name="pk_whatsapp_inbox"),
        sa.CheckConstraint(
            "state IN ('new', 'analysing', 'done')", name=op.f("ck_whatsapp_inbox_state")
        ),
    )
    op.create_index("ix_whatsapp_inbox_due", "whatsapp_inbox", ["state", "next_at"])
    op.create_index("ix_whatsapp_inbox_sender", "whatsapp_inbox", ["sender"])
    op.create_table(
        "whatsapp_outbox",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("sender", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        json_column("content", nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", UtcTime, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("sent_at", UtcTime),
        sa.Column("message_id", sa.String(255)),
        sa.Column("last_error", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_whatsapp_outbox"),
        sa.CheckConstraint(
            "state IN ('pending', 'sent', 'parked', 'failed')",
            name=op.f("ck_whatsapp_outbox_state"),
        ),
    )
    op.create_index("ix_whatsapp_outbox_due", "whatsapp_outbox", ["state", "next_at"])
    op.create_index(
        "ix_whatsapp_outbox_sender", "whatsapp_outbox", ["sender", "number"], unique=True
    )


def downgrade() -> None:
    """Remove the tables, with everything in them."""
    for name in ("outbox", "inbox", "senders"):
        op.drop_table(f"whatsapp_{name}")
