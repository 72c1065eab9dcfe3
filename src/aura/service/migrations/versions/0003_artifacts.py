"""Files that are drawn for a job, and the wish to have the reasons drawn."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table and the column; nobody wished for reasons before."""
    op.add_column(
        "detection_jobs",
        sa.Column("explain", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "job_artifacts",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("media_type", sa.String(100), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "name", name="pk_job_artifacts"),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["detection_jobs.id"],
            name="fk_job_artifacts_job_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_job_artifacts_key", "job_artifacts", ["key"])


def downgrade() -> None:
    """Forget which files are whose; they stay until somebody deletes `artifacts/`."""
    op.drop_table("job_artifacts")
    op.drop_column("detection_jobs", "explain")
