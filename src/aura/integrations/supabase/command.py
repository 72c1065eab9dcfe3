"""`aura supabase sql`: the tables of a Supabase project."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Part(StrEnum):
    """Which file."""

    history = "history"
    copy = "copy"


supabase = typer.Typer(name="supabase", help="A Supabase project's tables.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.add_typer(supabase)


@supabase.callback()
def about() -> None:
    """A Supabase project's tables."""


@supabase.command()
def sql(
    part: Annotated[
        Part,
        typer.Argument(
            help="`history`: the product's table and who may see what. `copy`: from Aura's own "
            "tables into it."
        ),
    ],
) -> None:
    """Print SQL for psql, the SQL editor, or a file in supabase/migrations."""
    typer.echo((Path(__file__).parent / f"{part}.sql").read_text(encoding="utf-8"), nl=False)
