"""`aura verify`, `aura report` and `aura signer`: whether a report holds, and how it is printed."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from aura.cli import progress_bars
from aura.errors import UsageError

VERIFY_HELP = (
    "Check a report: its signature, its own checksum, its pictures; with the video, run the "
    "analysis again and list every difference.\n\n"
    "Exit codes: 0 everything holds, 5 no report, 10 the report was changed, 11 signed by an "
    "unknown key, 12 not signed, 13 a picture was changed, 14 another video, 15 other weights, "
    "16 a second run differs."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("verify", help=VERIFY_HELP)(verify_report)
    app.command("report")(write_report)
    signer = typer.Typer(help="The key that signs your reports, and keys that you trust.")
    signer.command("show")(show_key)
    signer.command("trust")(trust_key)
    signer.command("list")(list_keys)
    app.add_typer(signer, name="signer", no_args_is_help=True)


def verify_report(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="The report's JSON.")],
    video: Annotated[
        Path | None, typer.Argument(metavar="VIDEO", help="The video that it is about.")
    ] = None,
    *,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only what does not hold.")] = False,
) -> None:
    """See `VERIFY_HELP`."""
    from aura.verify import verify  # noqa: PLC0415

    with progress_bars(quiet=quiet or video is None) as bars:
        done = verify(report, video, bars.begin(video.name) if video else None)
    if not quiet:
        _lines("ok  ", done.held)
    _lines("FAIL", [one.words for one in done.findings])
    if not quiet:
        _lines("note", done.notes)
        _lines("    ", ["The report holds." if not done.findings else "The report does not hold."])
    raise typer.Exit(done.exit_code)


def write_report(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="The report's JSON.")],
    *,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as one HTML page.")
    ] = None,
    pdf: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as PDF, A4.")] = None,
    video: Annotated[
        Path | None,
        typer.Option(metavar="VIDEO", help="Run again and say whether the numbers are the same."),
    ] = None,
    case: Annotated[str, typer.Option(metavar="TEXT", help="Case number or title.")] = "",
    examiner: Annotated[
        str, typer.Option(metavar="NAME", help="Who prints it; else the signature's name.")
    ] = "",
) -> None:
    """Write the examiner's report as HTML or PDF; pictures are taken from beside REPORT."""
    from aura.examiner.page import page, require  # noqa: PLC0415
    from aura.examiner.pdf import pdf as printed  # noqa: PLC0415
    from aura.verify import verify  # noqa: PLC0415

    if html is None and pdf is None:
        raise UsageError("say where to write: --html FILE, --pdf FILE, or both")
    require(pdf=pdf is not None)
    with progress_bars(quiet=video is None) as bars:
        done = verify(report, video, bars.begin(video.name) if video else None)
    text = page(done, report.parent, case=case, examiner=examiner, rerun=video is not None)
    for target, data in ((html, text.encode()), (pdf, printed(text) if pdf else b"")):
        if target is None:
            continue
        try:
            target.write_bytes(data)
        except OSError as error:
            raise UsageError(f"{target} can't be written ({error.strerror})") from None
        typer.echo(f"Written to {target}", err=True)
    for one in done.findings:
        typer.echo(_plain(f"aura: {one.words}"), err=True)
    raise typer.Exit(done.exit_code)


def show_key() -> None:
    """Print your public key, made now if there is none: hand it to those who shall trust you."""
    from aura import signing  # noqa: PLC0415

    typer.echo(signing.public_pem(), nl=False)
    typer.echo(f"Key id {signing.own_key_id()}", err=True)


def trust_key(
    name: Annotated[str, typer.Argument(help="What to call its owner.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Their public key (PEM).")],
) -> None:
    """Trust a public key: reports that it signed verify from now on."""
    from aura import signing  # noqa: PLC0415

    typer.echo(f"Trusted as {name}: key id {signing.trust(name, file)}")


def list_keys() -> None:
    """List the keys whose signatures verify here."""
    from aura import signing  # noqa: PLC0415

    own = signing.own_key_id()
    if own is not None:
        typer.echo(f"{own}  (yours)")
    for key_id, name in signing.trusted_keys().items():
        typer.echo(f"{key_id}  {name}")


def _lines(mark: str, lines: list[str]) -> None:
    for line in lines:
        typer.echo(_plain(f"{mark}  {line}"))


def _plain(text: str) -> str:
    """Without control characters: names in a report must not reach the terminal as commands."""
    return "".join(char if char.isprintable() else "?" for char in text)
