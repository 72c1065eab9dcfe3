"""What others add to the service; the service knows none of them.

`aura.integrations` is asked by its name, so that imports go one way: it knows the service.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from fastapi import APIRouter

    from aura.service.context import Bell, Service
    from aura.service.settings import Settings
    from aura.service.storage import Storage

INTEGRATIONS = "aura.integrations"


@dataclass(frozen=True)
class Extension:
    """One addition.

    `router`: routes of the API, open to everybody: whoever adds them checks who is asking.
    `rounds`: housekeeping by name, called every `sweep_seconds` by API and workers alike, at once
    in any number of processes.
    `sign_in`: whose token this is that is no API key; None: nobody's. Where one is given, nobody
    comes in without a key or a token.
    """

    name: str
    router: APIRouter | None = None
    rounds: Mapping[str, Callable[[threading.Event], object]] = field(default_factory=dict)
    sign_in: Callable[[str], str | None] | None = None


def load_extensions(service: Service) -> Sequence[Extension]:
    """Those that the environment configures.

    Raises:
        UsageError: half of what one needs. MissingExtra: its packages are not there.
    """
    found: Sequence[Extension] = import_module(INTEGRATIONS).extensions(service)
    return found


def bell_elsewhere(settings: Settings) -> Bell | None:
    """The bell of workers that run elsewhere (AURA_DISPATCHER); None: none is set."""
    found: Bell | None = import_module(INTEGRATIONS).bell(settings)
    return found


def storage_elsewhere(settings: Settings) -> Storage | None:
    """A store that this package does not know, by the scheme of AURA_STORAGE_URL."""
    found: Storage | None = import_module(INTEGRATIONS).storage(settings)
    return found
