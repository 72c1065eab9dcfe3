"""Which public checkpoints the heavy profiles use: `catalogue.json`, read and checked."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aura.errors import UsageError

Layout = Literal["efficientnet", "videomae", "wav2vec2", "gend"]


class Source(BaseModel):
    """One public checkpoint.

    `name` is that of the network in profiles and in the registry. `repo` is its place on the hub;
    null where none can be recommended, then it has to be named. `files` are taken in order: `a|b`
    is the first of them that is there, `a?` need not be there.
    `layout` says how it is read, `settings` what its config does not say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    profiles: tuple[str, ...]
    repo: str | None
    files: tuple[str, ...] = Field(min_length=1)
    layout: Layout
    settings: dict[str, Any] = {}
    licence: str
    about: str
    limits: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def sources() -> tuple[Source, ...]:
    """All of them, in the catalogue's order."""
    path = Path(__file__).parent / "catalogue.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    return tuple(Source.model_validate(one) for one in raw["sources"])


def profiles() -> tuple[str, ...]:
    """Names of the profiles that have any."""
    return tuple(dict.fromkeys(name for one in sources() for name in one.profiles))


def sources_of(profile: str) -> tuple[Source, ...]:
    """The checkpoints of one profile.

    Raises:
        UsageError: it has none.
    """
    found = tuple(one for one in sources() if profile in one.profiles)
    if not found:
        raise UsageError(
            f"profile {profile} has no public weights; choose one of {', '.join(profiles())}"
        )
    return found
