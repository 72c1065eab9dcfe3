"""Where users are: WhatsApp, Supabase, Modal. Each is an addition to the service that knows it.

whatsapp    a bot on the Cloud API (extra `whatsapp`)
supabase    sign-in by its tokens, its storage, its tables (extra `supabase`)
modal_app   workers on Modal's GPUs (extra `modal`)

Nothing here is imported until the environment configures it, and no finding is made here.
"""

from __future__ import annotations

import importlib.util
from importlib import import_module
from typing import TYPE_CHECKING

from aura.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.service.context import Bell, Service
    from aura.service.extensions import Extension
    from aura.service.settings import Settings
    from aura.service.storage import Storage

# Each has `extension(service)`, which gives None where the environment says nothing of it.
EXTENSIONS = ("aura.integrations.whatsapp", "aura.integrations.supabase")


def extensions(service: Service) -> Sequence[Extension]:
    """The configured additions.

    Raises:
        UsageError: half of what one needs is set. MissingExtra: its packages are not there.
    """
    found = (import_module(name).extension(service) for name in EXTENSIONS)
    return tuple(one for one in found if one is not None)


def bell(settings: Settings) -> Bell | None:
    """The bell of workers that run elsewhere; None: AURA_DISPATCHER names none.

    Raises:
        UsageError: there is none of this name, or its workers could not reach the database.
        MissingExtra: its packages are not there.
    """
    if settings.dispatcher != "modal":
        return None
    if importlib.util.find_spec("modal") is None:
        raise MissingExtra("dispatching to Modal", "modal")
    there = import_module("aura.integrations.modal_app")
    there.check_settings(settings)
    found: Bell = there.ModalBell()
    return found


def storage(settings: Settings) -> Storage | None:
    """A store by the scheme of AURA_STORAGE_URL; None: it is none that is known here.

    Raises:
        UsageError: the project's address or key is not set.
    """
    found: Storage | None = import_module(
        "aura.integrations.supabase.storage"
    ).open_supabase_storage(settings)
    return found
