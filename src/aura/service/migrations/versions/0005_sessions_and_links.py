"""Browsers that signed in, and links that show a result to whoever has them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aura.service.tables import UtcTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "web_sessions",
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("expires_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("token_sha256", name="pk_web_sessions"),
    )
    op.create_index("ix_web_sessions_expires_at", "web_sessions", ["expires_at"])
    op.create_table(
        "shared_links",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("expires_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_shared_links"),
        sa.UniqueConstraint("token_sha256", name="uq_shared_links_token_sha256"),
    )
    op.create_index("ix_shared_links_job_id", "shared_links", ["job_id"])
    op.create_index("ix_shared_links_expires_at", "shared_links", ["expires_at"])


def downgrade() -> None:
    """Remove the tables: everybody is signed out, and no link works any more."""
    op.drop_table("shared_links")
    op.drop_table("web_sessions")
