"""`aura doctor` and `aura models`: is everything here that an analysis needs, and unharmed?"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from aura import __version__
from aura.errors import AuraError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aura.runtime import ModelCard

EXIT_UNHEALTHY = 4
# Reports, a WAV of the sound and scratch files together stay far below this.
MIN_FREE_BYTES = 500 * 2**20
# Instruction sets that decide how fast the networks run, and on some engines how they round.
FLAGS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "amx_tile", "asimd", "sve")
MAX_WIDTH = 100  # columns of running text
MARKS = {"ok": "ok  ", "note": "note", "bad": "BAD "}


@dataclass(frozen=True)
class Check:
    """One line of the doctor's findings."""

    name: str
    state: Literal["ok", "note", "bad"]
    text: str


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    models = typer.Typer(help="The models that ship with Aura.", no_args_is_help=True)
    models.command("list")(list_models)
    models.command("verify")(verify_models)
    app.command()(doctor)
    app.add_typer(models, name="models")


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check versions, devices, weights and disk space; exit code 4 when something is wrong."""
    checks = list(examine())
    healthy = all(check.state != "bad" for check in checks)
    if as_json:
        import json  # noqa: PLC0415

        found = {"healthy": healthy, "checks": [asdict(check) for check in checks]}
        typer.echo(json.dumps(found, indent=2))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            typer.echo(f"{MARKS[check.state]}  {check.name:<{width}}  {check.text}")
        typer.echo("")
        typer.echo("Everything is in order." if healthy else "Something is wrong, see BAD above.")
    if not healthy:
        raise typer.Exit(EXIT_UNHEALTHY)


def examine() -> Iterator[Check]:
    """All findings, each guarded: a broken part is a finding and no crash."""
    parts: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
        ("versions", _versions),
        ("processor", _processor),
        ("devices", _devices),
        ("profiles", _profiles),
        ("weights", _weights),
        ("disk", _disk),
    )
    for name, part in parts:
        try:
            yield from part()
        except Exception as error:  # noqa: BLE001 - see above
            yield Check(name, "bad", f"{type(error).__name__}: {error}".splitlines()[0])


def _versions() -> Iterator[Check]:
    from aura.versions import ffmpeg_versions, tool_versions  # noqa: PLC0415

    yield Check("system", "ok", f"{platform.platform()}, Python at {sys.executable}")
    for name, version in tool_versions().items():
        if version == "absent":
            yield Check(name, "bad", "not installed: pip install --force-reinstall aura-veracity")
        else:
            yield Check(name, "ok", version)
    libraries = ffmpeg_versions()
    yield Check("ffmpeg", "ok", f"libavcodec {libraries['libavcodec']} inside PyAV")


def _processor() -> Iterator[Check]:
    from aura.runtime import cpu_threads  # noqa: PLC0415

    name, flags = processor()
    shown = " ".join(flag for flag in FLAGS if flag in flags) or "instruction sets unknown"
    yield Check("processor", "ok", f"{name}, {cpu_threads()} usable, {shown}")


def processor() -> tuple[str, set[str]]:
    """Name and instruction sets of the processor; the latter empty where the system hides them."""
    name, flags = platform.processor() or platform.machine(), set[str]()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return name, flags
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() in {"flags", "Features"}:
            flags = set(value.split())
    return name, flags


def _devices() -> Iterator[Check]:
    from aura.runtime import cuda_available, load_openvino  # noqa: PLC0415

    found = load_openvino().Core().available_devices
    state: Literal["ok", "bad"] = "ok" if "CPU" in found else "bad"
    yield Check("OpenVINO", state, f"devices: {', '.join(found) or 'none'}")
    yield Check(
        "CUDA", "ok" if cuda_available() else "note", "seen" if cuda_available() else "not seen"
    )


def _profiles() -> Iterator[Check]:
    from aura.profiles import load_profile, profile_names  # noqa: PLC0415
    from aura.runtime import weights_dir  # noqa: PLC0415

    for name in profile_names():
        profile = load_profile(name)
        missing = [m for m in profile.models if not (weights_dir() / f"{m}.json").is_file()]
        if missing:
            yield Check(f"profile {name}", "bad", f"needs missing models: {', '.join(missing)}")
        else:
            yield Check(f"profile {name}", "ok", f"{profile.version}, {profile.config_sha256[:12]}")


def _weights() -> Iterator[Check]:
    cards = list(_cards())
    if not cards:
        yield Check("weights", "bad", "no models found; reinstall aura-veracity")
    for name, card, problem in cards:
        if problem or card is None:
            yield Check(name, "bad", str(problem))
        else:
            yield Check(name, "ok", f"{card.version}, SHA-256 {card.sha256[:12]} as its card says")


def _cards() -> Iterator[tuple[str, ModelCard | None, str | None]]:
    """(name, card, problem) of every card; a card that can't be read does not hide the others."""
    from aura.runtime import read_card, verify_card, weights_dir  # noqa: PLC0415

    for path in sorted(weights_dir().glob("*.json")):
        try:
            card = read_card(path)
        except AuraError as error:
            yield path.stem, None, str(error)
        else:
            yield card.name, card, verify_card(card)


def _disk() -> Iterator[Check]:
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    text = f"{free / 2**30:.1f} GiB free in {folder}"
    if not os.access(folder, os.W_OK):
        yield Check("temporary files", "bad", f"{folder} can't be written; set TMPDIR")
    elif free < MIN_FREE_BYTES:
        yield Check("temporary files", "bad", f"{text}; make room or set TMPDIR")
    else:
        yield Check("temporary files", "ok", text)


def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print the cards as JSON.")] = False,
) -> None:
    """List the models with version, size, licence and what they are."""
    from aura.runtime import list_cards, weights_dir  # noqa: PLC0415

    cards = list_cards()
    if as_json:
        import json  # noqa: PLC0415

        typer.echo(json.dumps([asdict(card) for card in cards], indent=2, ensure_ascii=True))
        return
    width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
    for card in cards:
        path = weights_dir() / card.file
        size = _size(path.stat().st_size) if path.is_file() else "missing"
        typer.echo(f"{card.name}  {card.version}  {size}")
        for text in (card.architecture, card.licence):
            typer.echo(textwrap.fill(text, width, initial_indent="    ", subsequent_indent="    "))


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 10**6 else f"{count / 1e3:.0f} kB"


def verify_models() -> None:
    """Compare every weight file with the SHA-256 on its card; exit code 4 if one differs."""
    problems = 0
    for name, _, problem in _cards():
        problems += problem is not None
        typer.echo(
            f"{MARKS['bad' if problem else 'ok']}  {name}{f'  {problem}' if problem else ''}"
        )
    if problems:
        raise WeightsError(
            f"{problems} of the models of aura {__version__} can't be used; reinstall aura-veracity"
        )
