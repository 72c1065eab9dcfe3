"""Run by Alembic; `database.migrate` hands it an open connection and its transaction."""

from __future__ import annotations

from alembic import context

from aura.service.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
)
context.run_migrations()
