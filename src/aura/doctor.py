"""`aura doctor`: is everything here that an analysis needs, and unharmed?"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXIT_UNHEALTHY = 4
# Reports, a WAV of the sound and scratch files together stay far below this.
MIN_FREE_BYTES = 500 * 2**20
# Instruction sets that decide how fast the networks run, and on some engines how they round.
FLAGS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "amx_tile", "asimd", "sve")
MARKS = {"ok": "ok  ", "note": "note", "bad": "BAD "}


@dataclass(frozen=True)
class Check:
    """One line of the doctor's findings."""

    name: str
    state: Literal["ok", "note", "bad"]
    text: str


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(doctor)


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
    from aura.profiles import equipped, load_profile, missing_models, profile_names  # noqa: PLC0415

    for name in profile_names():
        profile = load_profile(name)
        missing = missing_models(profile)
        if missing and profile.obtain:
            yield Check(
                f"profile {name}",
                "note",
                f"no weights yet: `aura analyze --profile {name} FILE` tells how to make them",
            )
        elif missing:
            yield Check(f"profile {name}", "bad", f"needs missing models: {', '.join(missing)}")
        else:
            ready = equipped(profile)
            told = f"{ready.version}, {ready.config_sha256[:12]}"
            lacks = [one.name for one in ready.detectors if one.obtain and one.unavailable]
            if lacks:
                told += f"; without weights: {', '.join(lacks)} (aura weights list {name})"
            yield Check(f"profile {name}", "note" if lacks else "ok", told)


def _weights() -> Iterator[Check]:
    from aura.models_command import cards  # noqa: PLC0415

    found = list(cards())
    if not found:
        yield Check("weights", "bad", "no models found; reinstall aura-veracity")
    for name, card, problem in found:
        if problem or card is None:
            yield Check(name, "bad", str(problem))
        else:
            yield Check(name, "ok", f"{card.version}, SHA-256 {card.sha256[:12]} as its card says")


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
