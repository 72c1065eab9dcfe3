"""What an operator copies must fit the program: variables, commands, files."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

pytest.importorskip("fastapi", reason="needs the extra: pip install 'aura-veracity[service]'")

import yaml

from aura import cli
from aura.integrations.supabase.settings import SupabaseSettings
from aura.integrations.whatsapp.settings import WhatsAppSettings
from aura.service.settings import Settings, read_settings

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
PREFIXES: dict[str, Any] = {
    "AURA_WHATSAPP_": WhatsAppSettings,
    "AURA_SUPABASE_": SupabaseSettings,
    "AURA_": Settings,
}
ELSEWHERE = {"AURA_HOST", "AURA_MODAL_GPU", "POSTGRES_PASSWORD"} | {
    f"AWS_{name}" for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "DEFAULT_REGION")
}


def known(name: str) -> bool:
    for prefix, kind in PREFIXES.items():
        if name.startswith(prefix):
            return name.removeprefix(prefix).lower() in {one.name for one in fields(kind)}
    return False


def commands() -> set[str]:
    cli._register_commands()
    return set(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]


def test_every_variable_of_the_example_is_one() -> None:
    named = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", EXAMPLE, re.MULTILINE)
    assert len(named) > 20
    assert [name for name in named if not known(name) and name not in ELSEWHERE] == []
    on = dict(re.findall(r"^([A-Z][A-Z0-9_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    assert read_settings(on).database_url.startswith("postgresql://")


def test_compose_names_variables_files_and_commands_that_are_there() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    services = yaml.safe_load(text)["services"]
    for name in re.findall(r"\$\{(\w+)", text):
        assert f"{name}=" in EXAMPLE, name
    assert services["api"]["read_only"] is True
    host = re.search(r"@(\w+):5432", EXAMPLE)
    assert host is not None
    assert host[1] in services
    for service in services.values():
        for needed in service.get("depends_on", ()):
            assert needed in services
        command = service.get("command", ["caddy"])
        assert command[0] in commands() | {"caddy", "redis-server"}, command


def test_the_image_copies_what_is_there_and_installs_extras_that_are_there() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (copied,) = re.findall(r"^COPY (pyproject.*) /src/$", lines, re.MULTILINE)
    for name in copied.split():
        assert (ROOT / name).is_file()
        assert f"!{name}" in (ROOT / ".dockerignore").read_text(encoding="utf-8")
    (extras,) = re.findall(r"/src\[([a-z,]+)\]", lines)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in extras.split(","):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra


@pytest.mark.parametrize("page", ["deployment", "modal", "supabase", "whatsapp"])
def test_commands_and_variables_of_the_pages_are_there(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^    .*$", text, re.MULTILINE))
    called = re.findall(
        r"(?:^ +(?:AURA_\w+=\S+ )?|run --rm api |/)aura ([a-z]+)", blocks, re.MULTILINE
    )
    assert called
    assert set(called) <= commands()
    for name in re.findall(r"\b(AURA_[A-Z0-9_]+)\b", text):
        modal = name.startswith("AURA_MODAL_")
        assert modal or known(name) or name in ELSEWHERE | {"AURA_HOME"}, name
