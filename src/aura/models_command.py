"""`aura models` and `aura promote`: which networks are here, which are in use, and since when."""

from __future__ import annotations

import json
import shutil
import textwrap
from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aura import __version__
from aura.errors import AuraError, UsageError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aura.runtime import ModelCard

MAX_WIDTH = 100  # columns of running text
EXIT_DECLINED = 2  # nobody said yes


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    models = typer.Typer(
        help="The models that ship with Aura, and those promoted on this machine.",
        no_args_is_help=True,
    )
    models.command("list")(list_models)
    models.command("verify")(verify_models)
    models.command("history")(show_history)
    models.command("rollback")(rollback)
    app.add_typer(models, name="models")
    app.command()(promote)


def cards() -> Iterator[tuple[str, ModelCard | None, str | None]]:
    """(name, card, problem) of every model, shipped or promoted in any version.

    A card that can't be read does not hide the others.
    """
    from aura import registry  # noqa: PLC0415
    from aura.runtime import read_card, verify_card, weights_dir  # noqa: PLC0415

    places = [(path.stem, path) for path in sorted(weights_dir().glob("*.json"))]
    for name in registry.registered():
        for version in registry.versions(name):
            folder = registry.version_dir(name, version)
            places.append((f"{name} {version}", folder / registry.CARD))
    for name, path in places:
        try:
            card = read_card(path)
        except AuraError as error:
            yield name, None, str(error)
        else:
            yield name, card, verify_card(card, path.parent)
    for name in registry.registered():
        try:
            registry.promoted(name)
        except AuraError as error:
            yield name, None, str(error)


def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print the cards as JSON.")] = False,
) -> None:
    """List the models with version, size, licence and what they are; `*` marks what is in use."""
    from aura import registry  # noqa: PLC0415
    from aura.runtime import list_cards, read_card, weights_dir  # noqa: PLC0415

    shipped = list_cards()
    if as_json:
        rows: list[dict[str, Any]] = [{**asdict(card), "in_use": True} for card in shipped]
        for name in registry.registered():
            current = registry.in_use(name)
            for version in registry.versions(name):
                card = read_card(registry.version_dir(name, version) / registry.CARD)
                rows.append({**asdict(card), "in_use": version == current})
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=True))
        return
    for card in shipped:
        _print_card(card, weights_dir())
    for name in registry.registered():
        current = registry.in_use(name)
        for version in registry.versions(name):
            folder = registry.version_dir(name, version)
            _print_card(
                read_card(folder / registry.CARD),
                folder,
                mark="  * in use" if version == current else "",
            )


def _print_card(card: ModelCard, folder: Path, mark: str = "") -> None:
    width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
    path = folder / card.file
    size = _size(path.stat().st_size) if path.is_file() else "missing"
    typer.echo(f"{card.name}  {card.version}  {size}{mark}")
    for text in (card.architecture, card.licence):
        typer.echo(textwrap.fill(text, width, initial_indent="    ", subsequent_indent="    "))


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 10**6 else f"{count / 1e3:.0f} kB"


def verify_models() -> None:
    """Compare every weight file with the SHA-256 on its card; exit code 4 if one differs."""
    problems = 0
    for name, _, problem in cards():
        problems += problem is not None
        typer.echo(f"{'BAD ' if problem else 'ok  '}  {name}{f'  {problem}' if problem else ''}")
    if problems:
        raise WeightsError(
            f"{problems} of the models of aura {__version__} can't be used; reinstall "
            "aura-veracity, or for a promoted one go back with `aura models rollback NAME`"
        )


def show_history(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as contract-v1.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the events as JSON.")] = False,
) -> None:
    """Show who put which version of a model in use, and when; the last line holds."""
    from aura import registry  # noqa: PLC0415

    events = registry.history(name)
    if as_json:
        typer.echo(json.dumps([asdict(event) for event in events], indent=2))
        return
    if not events:
        typer.echo(f"No version of {name} was ever promoted on this machine.")
    for event in events:
        note = f"  {event.note}" if event.note else ""
        typer.echo(
            f"{event.time}  {event.who}  {event.action}  {event.version}"
            f"  (before: {event.previous or 'none'})  SHA-256 {event.sha256[:12]}{note}"
        )


def promote(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="From `aura export`.")],
    *,
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="Such as contract-v1.")],
    version: Annotated[str, typer.Option(help="What to call it; versions never change.")],
    evaluation: Annotated[
        Path, typer.Option(metavar="DIR", help="From `aura evaluate`, of the same weights.")
    ],
    note: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Put an exported model in use on this machine: shows what changes, then asks."""
    from aura import promotion  # noqa: PLC0415

    proposal = promotion.propose(folder, name, version, evaluation)
    for line in proposal.lines:
        typer.echo(line)
    _confirm(f"Put {name} {version} in use?", yes=yes)
    event = promotion.carry_out(proposal, note)
    typer.echo(f"{name} {event.version} is in use. Back: aura models rollback {name}")


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as contract-v1.")],
    *,
    note: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Go back to the version that was in use before the last promotion."""
    from aura import promotion, registry  # noqa: PLC0415

    target = registry.before(name)
    typer.echo(f"{name}: from {registry.in_use(name)} back to {target}")
    _confirm(f"Put {name} {target} in use again?", yes=yes)
    event = promotion.go_back(name, target, note)
    typer.echo(f"{name} {event.version} is in use again.")


def _confirm(question: str, *, yes: bool) -> None:
    """A person's word; where nobody can be asked, `--yes` has to be given."""
    if yes:
        return
    try:
        agreed = typer.confirm(question)
    except typer.Abort:
        raise UsageError("nobody answered; nothing changed: run it again with --yes") from None
    if not agreed:
        typer.echo("Nothing changed.")
        raise typer.Exit(EXIT_DECLINED)
