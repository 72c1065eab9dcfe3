"""A bot on WhatsApp's Cloud API: a video comes in, the verdict in words goes out.

routes     the webhook that Meta calls: verified, written down, answered at once
payload    what Meta sends, as little of it as is needed
senders    who writes, under a name that tells nobody their number
inbox      what people sent: each message once, whatever is repeated or dies
handling   what is done about a message: media fetched, a job submitted, a question answered
notices    progress and results of the jobs, as messages
outbox     messages to people, in order, sent until Meta takes them
pictures   the worst moment of a clip
client     Meta's API, through the guarded client
wording    everything the bot says, in each language

Every step writes to the database before it goes on, and rounds of housekeeping take the next one;
so a process that dies, or an API that is away, delays a message and loses none.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from aura.errors import MissingExtra
from aura.integrations.whatsapp.settings import read_whatsapp_settings
from aura.service.extensions import Extension

if TYPE_CHECKING:
    from aura.service.context import Service


def extension(service: Service) -> Extension | None:
    """The bot, if AURA_WHATSAPP_TOKEN is set.

    Raises:
        UsageError: another of its variables is missing. MissingExtra: pywa is not there.
    """
    settings = read_whatsapp_settings()
    if settings is None:
        return None
    if importlib.util.find_spec("pywa") is None:
        raise MissingExtra("the WhatsApp bot", "whatsapp")
    from aura.integrations.whatsapp.bot import Bot  # noqa: PLC0415 - who has no bot loads none
    from aura.integrations.whatsapp.routes import make_router  # noqa: PLC0415

    bot = Bot(service, settings)
    return Extension("whatsapp", make_router(bot), bot.rounds)
