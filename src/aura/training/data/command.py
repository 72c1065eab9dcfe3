"""`aura data import`, `audit` and `prepare`; needs no more than the core's own packages."""

from __future__ import annotations

import math
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aura.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aura.training.data.audit import Audit

EXIT_FINDINGS = 5  # the audit ran and found something bad; not an error of the program
MARKS = {"ok": "ok  ", "note": "note", "bad": "BAD "}
SHOWN = 5  # examples of a finding in the table; `--json` has all

IMPORT_HELP = (
    "Write the manifest of a data set that is on disk.\n\n"
    "KIND is ffpp (FaceForensics++), celeb-df (v2), dfdc, fakeavceleb, lav-df, av-deepfake1m, or "
    "folders (real/ and fake/). Every file is hashed and probed; what is left out is listed in "
    "NAME.dropped.csv beside the manifest. Run it again to go on after an interruption or to take "
    "in new files."
)
SPLIT_HELP = (
    "Deal clips into train, val and test by people: nobody, and no content, is in two of them.\n\n"
    "For sets without an official split. Writes a new manifest; the old one stays as it is."
)
AUDIT_HELP = (
    "Look for leaks in a data set: people, content or copies in two splits, unreadable files, "
    "missing classes, and shortcuts that tell real from fake without looking.\n\n"
    f"Exit codes: 0 clean, {EXIT_FINDINGS} something bad was found, 2 wrong option, 3 the manifest "
    "can't be read, 130 stopped."
)
PREPARE_HELP = (
    "Decode every video of a manifest once into what training reads: aligned faces, flow, "
    "speech.\n\n"
    "Run it again to go on after an interruption, or when the manifest has changed. What is left "
    "out is listed in OUT/dropped.csv with the reason.\n\n"
    "Exit codes: 0 prepared, 2 wrong option or full disk, 3 nothing can be used, 130 stopped."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    data = typer.Typer(help="Data sets: import, audit, prepare them.", no_args_is_help=True)
    data.command("import", help=IMPORT_HELP)(import_set)
    data.command("split", help=SPLIT_HELP)(split_set)
    data.command("audit", help=AUDIT_HELP)(audit_set)
    data.command("prepare", help=PREPARE_HELP)(prepare_set)
    app.add_typer(data, name="data")


def import_set(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="How the folder is laid out.")],
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The data set's folder.")],
    *,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The manifest (.csv or .parquet), above the files.")
    ],
    compression: Annotated[str | None, typer.Option(help="ffpp: only raw, c23 or c40.")] = None,
    splits: Annotated[
        Path | None, typer.Option(metavar="DIR", help="ffpp: where train.json and so on are.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="folders: what to call the source (the folder's name).")
    ] = None,
    licence: Annotated[str, typer.Option(help="folders: terms of use to note.")] = "",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Files read at once (one a processor).")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> None:
    """Import a data set; see `IMPORT_HELP`."""
    from aura.cli import progress_bars  # noqa: PLC0415
    from aura.training.data.importing import import_data  # noqa: PLC0415 - loads the decoder
    from aura.training.data.listing import Options  # noqa: PLC0415

    options = Options(compression, splits, source, licence)
    with progress_bars(quiet=quiet) as bars:
        hook = bars.begin(root.resolve().name)
        summary = import_data(kind, root, out, options, workers=workers, hook=hook)
    if quiet:
        return
    kept = summary.rows.total()
    known = f" ({summary.reused} of them known from an earlier run)" if summary.reused else ""
    typer.echo(f"{out}: {kept} clips{known}")
    for (split, label), count in sorted(summary.rows.items()):
        typer.echo(f"  {split or 'no split':<8}  {label}  {count:>8}")
    if summary.dropped:
        typer.echo(f"Left out, see {out.stem}.dropped.csv:")
        for reason, count in summary.dropped.most_common():
            typer.echo(f"  {reason:<27} {count:>6}")


def split_set(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="CSV or Parquet.")],
    *,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The new manifest, beside the old one or above.")
    ],
    shares: Annotated[str, typer.Option(help="Of train, val and test.")] = "0.6,0.25,0.15",
    seed: Annotated[int, typer.Option(help="Other numbers, other splits.")] = 0,
    videos: Annotated[bool, typer.Option("--videos", help="Leave out photos and sound.")] = False,
    fakes_to_test: Annotated[
        bool,
        typer.Option("--fakes-to-test", help="Train on self-made fakes, test on these."),
    ] = False,
) -> None:
    """Split by people; see `SPLIT_HELP`."""
    from collections import Counter  # noqa: PLC0415

    from aura.training.data.splitting import split_manifest  # noqa: PLC0415

    try:
        wanted = [float(part) for part in shares.split(",")]
    except ValueError:
        raise UsageError(f"--shares {shares}: give three numbers like 0.6,0.25,0.15") from None
    rows = split_manifest(
        manifest, out, wanted, seed=seed, videos_only=videos, fakes_to_test=fakes_to_test
    )
    typer.echo(f"{out}: {len(rows)} clips")
    for (split, label), count in sorted(Counter((row.split, row.label) for row in rows).items()):
        typer.echo(f"  {split:<8}  {label}  {count:>8}")


def audit_set(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="From `aura data import`.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Files read at once (one a processor).")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Audit a data set; see `AUDIT_HELP`."""
    from aura.cli import progress_bars  # noqa: PLC0415
    from aura.training.data.audit import audit  # noqa: PLC0415 - loads the decoder

    with progress_bars(quiet=quiet) as bars:
        found = audit(manifest, workers=workers, hook=bars.begin(manifest.name))
    if as_json:
        import json  # noqa: PLC0415

        typer.echo(json.dumps(_as_json(found), indent=2, ensure_ascii=False))
    else:
        for line in _table(found):
            typer.echo(line)
    if not found.clean:
        raise typer.Exit(EXIT_FINDINGS)


def prepare_set(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="From `aura data import`.")],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to fill.")],
    fps: Annotated[
        float | None,
        typer.Option(help="Pictures taken a second (5; 10 from 1080 lines on)."),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="How much of each clip is kept, from its beginning (30).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Files decoded at once (one a processor).")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> None:
    """Prepare a data set; see `PREPARE_HELP`."""
    from aura.cli import progress_bars  # noqa: PLC0415
    from aura.errors import Cancelled  # noqa: PLC0415
    from aura.training.data.prepare import MAX_SECONDS, Options, prepare  # noqa: PLC0415 - loads the decoder

    options = Options(fps, MAX_SECONDS if max_seconds is None else max_seconds)
    try:
        with progress_bars(quiet=quiet) as bars:
            hook = bars.begin(manifest.name)
            summary = prepare(manifest, out, options, workers=workers, hook=hook)
    except KeyboardInterrupt:
        raise Cancelled(f"stopped; run the same command again to go on with {out}") from None
    for warning in summary.warnings:
        typer.echo(f"aura: {warning}", err=True)
    if quiet:
        return
    known = f" ({summary.reused} files known from an earlier run)" if summary.reused else ""
    typer.echo(
        f"{out}: {summary.clips.total()} clips{known}, {summary.seconds:.0f} s, {summary.faces} "
        f"faces, {summary.speech:.0f} s of speech, {summary.size_bytes / 1e6:.0f} MB"
    )
    for (split, label), count in sorted(summary.clips.items()):
        typer.echo(f"  {split or 'no split':<8}  {label}  {count:>8}")
    if summary.dropped:
        typer.echo(f"Left out, see {out / 'dropped.csv'}:")
        for reason, count in summary.dropped.most_common():
            typer.echo(f"  {reason:<27} {count:>6}")


def _table(found: Audit) -> Iterator[str]:
    width = max(len(one.check) for one in found.findings)
    for one in found.findings:
        yield f"{MARKS[one.state]}  {one.check:<{width}}  {one.text}"
        indent = " " * (width + 8)
        for example in one.examples[:SHOWN]:
            shown = "".join(char if char.isprintable() else "?" for char in example)
            yield f"{indent}- {shown}"
        if len(one.examples) > SHOWN:
            yield f"{indent}  and {len(one.examples) - SHOWN} more (--json)"
    bad = sum(one.state == "bad" for one in found.findings)
    yield ""
    if found.clean:
        yield f"{found.rows} rows: nothing bad was found."
    else:
        findings = "1 bad finding" if bad == 1 else f"{bad} bad findings"
        yield f"{found.rows} rows, {findings}: don't trust figures measured on this data."


def _as_json(found: Audit) -> dict[str, Any]:
    return {
        "clean": found.clean,
        "rows": found.rows,
        "findings": [
            {
                "check": one.check,
                "state": one.state,
                "text": one.text,
                "examples": list(one.examples),
            }
            for one in found.findings
        ],
        "shortcuts": [
            {
                "name": one.name,
                "auc": round(one.auc.value, 4),
                "interval": None  # not computed where nothing stands out
                if math.isnan(one.auc.low)
                else [round(one.auc.low, 4), round(one.auc.high, 4)],
                "leaks": one.leaks,
            }
            for one in found.shortcuts
        ],
    }
