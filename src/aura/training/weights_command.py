"""`aura weights`: public checkpoints of the heavy profiles, pulled, listed, verified."""

from __future__ import annotations

import json
import re
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aura.errors import MissingExtra, UsageError, WeightsError

if TYPE_CHECKING:
    from aura.hub.catalogue import Source
    from aura.hub.pins import Pin

EXTRA_MODULES = {"torch", "transformers", "safetensors", "onnx"}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    weights = typer.Typer(
        help="Public weights of the profiles that don't ship with any.", no_args_is_help=True
    )
    weights.command("pull")(pull)
    weights.command("list")(list_weights)
    weights.command("verify")(verify)
    app.add_typer(weights, name="weights")


def pull(
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="ensemble or frontier.")],
    *,
    only: Annotated[str | None, typer.Option(metavar="NAME", help="One checkpoint of it.")] = None,
    mirror: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Ask this hub instead (or AURA_WEIGHTS_MIRROR)."),
    ] = None,
    offline: Annotated[bool, typer.Option(help="Use what was downloaded; no network.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Files you have, with --only.")
    ] = None,
    repo: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Another checkpoint, with --only.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="A commit, branch or tag, with --only; else the one pinned.")
    ] = None,
    sha256: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME/FILE=HEX", help="What a file must have; may be repeated."),
    ] = None,
    accept_licence: Annotated[bool, typer.Option(help="Accept the licences shown.")] = False,
    fake_label: Annotated[
        str | None, typer.Option(metavar="LABEL", help="The label that means fake, with --only.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="What a checkpoint does not say."),
    ] = None,
    keep: Annotated[bool, typer.Option(help="Keep the downloads after conversion.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Download, check and convert what a profile needs; run it again to go on."""
    from aura.cli import progress_bars  # noqa: PLC0415
    from aura.hub.catalogue import sources_of  # noqa: PLC0415

    chosen = [one for one in sources_of(profile) if only in {None, one.name}]
    if not chosen:
        names = ", ".join(one.name for one in sources_of(profile))
        raise UsageError(f"--only {only}: choose one of {names}")
    single = {"--from": folder, "--repo": repo, "--revision": revision, "--fake-label": fake_label}
    given = [name for name, value in single.items() if value is not None]
    if given and only is None:
        raise UsageError(f"{given[0]} is about one checkpoint: name it with --only")
    sums, settings = _pairs(sha256, "--sha256"), _pairs(set_, "--set")
    if any(not re.fullmatch(r"[0-9a-f]{64}", value) for value in sums.values()):
        raise UsageError("--sha256: give NAME/FILE=64 lower-case hexadecimal digits")
    try:
        from aura.training.public.pull import Wish, pull_one  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in EXTRA_MODULES:
            raise MissingExtra("aura weights pull", "train") from None
        raise
    wish = Wish(
        agree=lambda source: _agree(source, yes=accept_licence),
        mirror=mirror,
        repo=repo,
        revision=revision,
        sums=sums,
        folder=folder,
        offline=offline,
        keep=keep,
        settings=settings,
        fake_label=fake_label,
    )
    failed: list[str] = []
    with progress_bars(quiet=quiet) as bars:
        for source in chosen:
            if source.repo is None and only is None and _pin(source) is None:
                typer.echo(f"{source.name}: left out, {NO_CHECKPOINT}")
                continue
            try:
                version = pull_one(source, _hidden(wish, bars), bars.begin(source.name))
            except WeightsError as error:
                if only is not None:
                    raise
                bars.hide()
                typer.echo(f"{source.name}: {error}", err=True)
                failed.append(source.name)
                continue
            bars.hide()
            typer.echo(f"{source.name}: {version} is in use")
    if failed:
        raise WeightsError(
            f"{', '.join(failed)} could not be pulled; profile {profile} runs without, and says so"
        )


NO_CHECKPOINT = (
    "no fine-tuned public checkpoint of it can be recommended; make one with aura train --config "
    "videomae (docs/weights.md), then "
    "aura weights pull ensemble --only videomae-deepfake --repo OWNER/NAME or --from FOLDER"
)


def _hidden(wish: Any, bars: Any) -> Any:
    """The wish, asking only after the progress bar has gone."""
    from dataclasses import replace  # noqa: PLC0415

    def agree(source: Source) -> bool:
        bars.hide()
        return bool(wish.agree(source))

    return replace(wish, agree=agree)


def _agree(source: Source, *, yes: bool) -> bool:
    """A person's word on a licence; where nobody can be asked, `--accept-licence` is needed."""
    typer.echo(f"{source.name}: {source.about}\n  from {source.repo or 'the place you named'}")
    typer.echo(f"  Licence: {source.licence}")
    if yes:
        return True
    try:
        return typer.confirm("Accept this licence and download?")
    except typer.Abort:
        return False


def _pairs(values: list[str] | None, option: str) -> dict[str, str]:
    found = {}
    for one in values or []:
        key, equals, value = one.partition("=")
        if not (key and equals and value):
            raise UsageError(f"{option} {one}: give KEY=VALUE")
        found[key] = value
    return found


def _pin(source: Source) -> Pin | None:
    from aura.hub.pins import read_pins  # noqa: PLC0415

    return read_pins().get(source.name)


def list_weights(
    profile: Annotated[str | None, typer.Argument(metavar="[PROFILE]", help="Only its.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the public checkpoints: where they are, their licences, and what is on this machine."""
    from aura import registry  # noqa: PLC0415
    from aura.hub.catalogue import sources, sources_of  # noqa: PLC0415

    rows: list[dict[str, Any]] = []
    for source in sources() if profile is None else sources_of(profile):
        pin = _pin(source)
        rows.append(
            {
                "name": source.name,
                "profiles": source.profiles,
                "repo": pin.repo if pin else source.repo,
                "about": source.about,
                "licence": source.licence,
                "revision": pin.revision if pin else None,
                "files_sha256": pin.files if pin else {},
                "in_use": registry.in_use(source.name),
            }
        )
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        state = f"version {row['in_use']} in use" if row["in_use"] else "not here"
        typer.echo(f"{row['name']}  ({', '.join(row['profiles'])})  {state}")
        typer.echo(f"    {row['about']}")
        typer.echo(f"    {row['repo'] or 'no checkpoint recommended'}")
        typer.echo(f"    {row['licence']}")


def verify(
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="ensemble or frontier.")],
) -> None:
    """Compare the profile's networks with their cards and pins; exit code 4 if one is not right."""
    from aura import registry  # noqa: PLC0415
    from aura.hub.catalogue import sources_of  # noqa: PLC0415
    from aura.runtime import read_card, verify_card  # noqa: PLC0415

    bad = 0
    for source in sources_of(profile):
        problem: str | None = None
        folder = registry.promoted(source.name)
        pin = _pin(source)
        if folder is None:
            problem = f"not here; aura weights pull {profile} brings it"
        else:
            card = read_card(folder / registry.CARD)
            problem = verify_card(card, folder)
            if problem is None and pin and card.training.get("files_sha256") != pin.files:
                problem = "was made from other files than those pinned"
        bad += problem is not None
        typer.echo(
            f"{'BAD ' if problem else 'ok  '}  {source.name}{f'  {problem}' if problem else ''}"
        )
    if bad:
        raise WeightsError(f"{bad} of the networks of {profile} can't be used; pull it again")
