"""Where users are: WhatsApp, Supabase, Modal. Each is an addition to the service that knows it.

whatsapp    a bot on the Cloud API (extra `whatsapp`)
supabase    sign-in by its tokens, its storage, its tables (extra `supabase`)
modal_app   workers on Modal's GPUs (extra `modal`)

Nothing here is imported until the environment configures it, and no finding is made here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.service.context import Service
    from aura.service.extensions import Extension

# Each has `extension(service)`, which gives None where the environment says nothing of it.
EXTENSIONS = ("aura.integrations.whatsapp",)


def extensions(service: Service) -> Sequence[Extension]:
    """The configured additions.

    Raises:
        UsageError: half of what one needs is set. MissingExtra: its packages are not there.
    """
    found = (import_module(name).extension(service) for name in EXTENSIONS)
    return tuple(one for one in found if one is not None)
