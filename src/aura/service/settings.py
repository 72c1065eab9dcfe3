"""What an operator can set: each field is the environment variable AURA_ and its name in capitals.

Without any of them everything is on this machine: SQLite, a folder, a worker beside the API.
"""

from __future__ import annotations

import ipaddress
import os
import types
import typing
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aura.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "AURA_"
MIB = 2**20
DISPATCHERS = ("", "embedded", "celery", "modal")


@dataclass(frozen=True)
class Settings:
    """Sizes in bytes, times in seconds unless named otherwise."""

    data_dir: Path = Path("aura-data")
    """Folder for everything that is not in the database or in S3."""
    database_url: str = ""
    """postgresql://...; empty: SQLite in the data folder."""
    redis_url: str = ""
    """redis://...; empty: no queue beside the table, and the worker runs beside the API. Give
    this service a database number of its own: the shortest visibility timeout of all programs
    on one counts for all."""
    dispatcher: str = ""
    """Who does the jobs: embedded, celery, modal; empty: Celery where there is a Redis."""
    storage_url: str = ""
    """s3://bucket/prefix; empty: the data folder."""
    s3_endpoint: str = ""
    """Address of an S3-compatible store that is not Amazon's."""
    storage_seconds: float = 20.0
    """Without a byte from a store over the network before it counts as away."""
    storage_pause: float = 5.0
    """Of a worker that finds it away; the job goes back into the queue and loses no attempt."""
    public_url: str = ""
    """https://... under which users reach this service; for links in messages."""
    secret: str = ""
    """Signs artefact links; empty: made and kept in the data folder. All processes of a fleet
    must be given the same."""

    signing_key: str = ""
    """Signs reports: path of an Ed25519 key in PEM, or its text; empty: made and kept in the data
    folder. All processes of a fleet must be given the same."""

    workers: int = 1
    """Embedded worker processes."""
    lease_seconds: float = 30.0
    """A worker that is silent for so long has lost its job."""
    max_attempts: int = 3
    soft_deadline: float = 60.0
    """A 30 s clip that takes longer is noted as slow; longer clips have time in proportion."""
    hard_deadline: float = 120.0
    """A 30 s clip that takes longer is stopped."""
    worker_memory: int = 8192 * MIB
    """Of data and stack of one worker process; 0: without limit."""
    probe_seconds: float = 20.0
    probe_memory: int = 2048 * MIB

    max_upload: int = 512 * MIB
    max_image: int = 32 * MIB
    max_duration: float = 600.0
    """Of a clip."""
    min_free_disk: int = 512 * MIB
    """Uploads are refused when less is free."""
    max_batch: int = 50
    daily_limit: int = 0
    """Submissions a user a day, where the key says nothing else; 0: without limit."""
    concurrent_limit: int = 0
    burst_limit: int | None = None
    """Submissions a user within a minute, 0: without limit; not set: 120, but for the only user of
    a service that needs no keys."""
    cache_scope: str = "everyone"
    """Who is answered from another's analysis of the same bytes: everyone, owner, off."""

    results_days: float = 30.0
    """Then a finished job is erased."""
    media_days: float = 7.0
    """How long media are kept that were kept on request, or that belong to a dead job."""
    link_seconds: float = 900.0
    """How long an artefact link works."""
    orphan_seconds: float = 3600.0
    """Stored media that no job knows are deleted after so long."""

    sweep_seconds: float = 2.0
    poll_seconds: float = 0.5
    """How often an idle worker looks, in case it missed the bell."""
    ring_again: float = 60.0
    """A queued job whose bell nobody answered is rung for again."""

    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    """`host:port` that may be fetched from or called back although they are not public."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks (10.0.0.0/8) of proxies with TLS in front: their X-Forwarded-Proto says
    how links begin, their X-Forwarded-For whom the audit log names. Nobody else's is believed."""
    fetch_seconds: float = 60.0
    """For a whole `video_url`."""
    callback_seconds: float = 15.0
    require_keys: bool = False
    """Ask for a key even where nobody else can connect."""

    @property
    def database(self) -> str:
        """The URL of the database, whichever it is."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'aura.db'}"

    @property
    def lease(self) -> timedelta:
        """`lease_seconds` as a difference of times."""
        return timedelta(seconds=self.lease_seconds)

    def environment(self) -> dict[str, str]:
        """The variables that make another process read the same settings."""
        found = {}
        for field in fields(self):
            value = getattr(self, field.name)
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            if value != field.default or field.name == "data_dir":
                found[PREFIX + field.name.upper()] = text
        return found


def read_settings(environment: Mapping[str, str] | None = None, **given: Any) -> Settings:
    """Settings from the environment; what is `given` and not None counts more.

    Raises:
        UsageError: a variable holds nonsense.
    """
    settings = replace(Settings(), **read_fields(Settings, PREFIX, environment))
    settings = replace(settings, **{k: v for k, v in given.items() if v is not None})
    if settings.cache_scope not in {"everyone", "owner", "off"}:
        raise UsageError("AURA_CACHE_SCOPE: choose one of everyone, owner, off")
    if settings.dispatcher not in DISPATCHERS:
        raise UsageError(f"AURA_DISPATCHER: choose one of {', '.join(DISPATCHERS[1:])}")
    for one in settings.trusted_proxies:
        try:
            ipaddress.ip_network(one)
        except ValueError:
            raise UsageError(
                f"AURA_TRUSTED_PROXIES: {one} is no address or network such as 10.0.0.0/8"
            ) from None
    for name in ("lease_seconds", "soft_deadline", "hard_deadline", "sweep_seconds"):
        if getattr(settings, name) <= 0:
            raise UsageError(f"{PREFIX}{name.upper()} must be above 0")
    return settings


def read_fields(
    kind: type[Any], prefix: str, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What the environment says about a dataclass's fields; those it is silent about are left out.

    Raises:
        UsageError: a variable holds nonsense.
    """
    environment = os.environ if environment is None else environment
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in fields(kind):
        name = prefix + field.name.upper()
        text = environment.get(name, "")
        if text:
            values[field.name] = _parse(name, text, hints[field.name])
    return values


def _parse(name: str, text: str, kind: Any) -> Any:
    if isinstance(kind, types.GenericAlias):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind is bool:
        return text.lower() not in {"0", "false", "no", "off"}
    if isinstance(kind, types.UnionType):  # a number, or not set
        kind = typing.get_args(kind)[0]
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{name}={text}: give a number") from None
