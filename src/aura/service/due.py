"""Tables of things that wait for their time, worked through by any number of processes.

Such a table has `state`, `next_at` and `attempts`. Who claims a row has it alone for a while; a
claimer that dies loses it when the while is over, and somebody else tries.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aura.service.database import reading
from aura.service.jobs import utc_now

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


def claim_due(
    engine: Engine,
    table: sa.Table,
    state: str,
    *conditions: sa.ColumnElement[bool],
    seconds: float,
) -> dict[str, Any] | None:
    """Take the row that has waited longest; nobody else gets it for `seconds`. None: none is due.

    Args:
        engine: of the database.
        table: with `id`, `state`, `next_at`, `attempts`.
        state: of rows that wait.
        conditions: which else have to hold.
        seconds: for which nobody else gets it.
    """
    now, column = utc_now(), table.c
    due = sa.select(column.id).where(column.state == state, column.next_at <= now, *conditions)
    with reading(engine) as connection:  # nothing due is the usual case and needs no lock
        if connection.execute(due.limit(1)).first() is None:
            return None
    chosen = due.order_by(column.next_at).limit(1).with_for_update(skip_locked=True, of=table)
    with engine.begin() as connection:
        row = connection.execute(
            table.update()
            .where(column.id == chosen.scalar_subquery(), column.next_at <= now)
            .values(attempts=column.attempts + 1, next_at=now + timedelta(seconds=seconds))
            .returning(table)
        ).one_or_none()
    return None if row is None else dict(row._mapping)
