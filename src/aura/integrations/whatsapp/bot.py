"""The bot as the service sees it: what came in is taken in, and rounds that do the rest."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

from aura.integrations.whatsapp import handling, inbox, notices, outbox
from aura.integrations.whatsapp.client import CloudApi
from aura.service.jobs import utc_now
from aura.service.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aura.integrations.whatsapp.payload import Delivered, Incoming
    from aura.integrations.whatsapp.settings import WhatsAppSettings
    from aura.service.context import Service

log = get_logger("whatsapp")

AT_ONCE = 4  # threads that work right after a message came; the others leave it to the rounds
CLEAR_EVERY = timedelta(minutes=10)
NEVER = threading.Event()


class Bot:
    """One phone number; safe to share between threads."""

    def __init__(self, service: Service, settings: WhatsAppSettings) -> None:
        self.service = service
        self.settings = settings
        self.api = CloudApi(settings, service.settings.allowed_hosts)
        self._busy = threading.BoundedSemaphore(AT_ONCE)
        self._cleared = utc_now() - CLEAR_EVERY

    @property
    def rounds(self) -> Mapping[str, Callable[[threading.Event], object]]:
        """For the housekeeping."""
        return {
            "whatsapp-inbox": self.handle,
            "whatsapp-notices": self.notice,
            "whatsapp-outbox": self.send,
        }

    def take_in(self, incoming: Sequence[Incoming], delivered: Sequence[Delivered]) -> None:
        """Write down what Meta posted."""
        for message in incoming:
            new = inbox.take_in(self, message)
            log.info("message", kind=message.kind, group=message.is_group, new=new)
        for state in delivered:
            outbox.note_delivered(self.service.engine, state)

    def work(self) -> None:
        """What a new message asks for, now rather than with the next round."""
        if self._busy.acquire(blocking=False):
            try:
                self.send(NEVER)
                self.handle(NEVER)
                self.notice(NEVER)
                self.send(NEVER)
            except Exception as error:  # noqa: BLE001 - the rounds try again, and say more
                log.warning("not_at_once", error=type(error).__name__)
            finally:
                self._busy.release()

    def handle(self, stop: threading.Event) -> None:
        """Do something about messages that nobody did anything about yet."""
        handling.handle_due(self, stop)

    def notice(self, stop: threading.Event) -> None:
        """Put progress and results into the outbox; forget what is old."""
        notices.tell(self, stop)
        now = utc_now()
        if now - self._cleared >= CLEAR_EVERY:
            self._cleared = now
            inbox.forget_before(self, now - timedelta(days=self.settings.keep_days))

    def send(self, stop: threading.Event) -> None:
        """Send what is due."""
        outbox.send_due(self, stop)
