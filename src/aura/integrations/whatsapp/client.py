"""Meta's API through pywa, and pywa through the guarded client.

pywa knows the API: forms of messages and recipients, upload, numbers of errors. Its own connections
follow redirects with the token and are capped by nothing, so it is given a transport that asks
through `GuardedClient`. Its hooks for web servers are left alone: they read one message of a post
that may hold many, remember repeated ones in one process's memory, and compare the verify token
byte by byte; and what they hand over is lost if the process dies.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from pywa import errors
from pywa.client import WhatsApp

from aura.errors import AuraError
from aura.service.guarded import AddressRefused, FetchFailed, GuardedClient, TooLarge

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from aura.integrations.whatsapp.settings import WhatsAppSettings

MAX_ANSWER = 2**20  # bytes of an answer of the API
MAX_TEXT, MAX_CAPTION = 4096, 1024  # characters, as Meta allows
OK = 200
GRAPH = "https://graph.facebook.com"
# What no second attempt would change. Everything else is tried again: a token that ran out, a limit
# that was reached, a server that is down are all mended some day.
NEVER = (
    errors.MessageUndeliverable,
    errors.UnsupportedMessageType,
    errors.RecipientNotInAllowedList,
    errors.InvalidParameter,
    errors.MissingRequiredParameter,
)
LASTING = frozenset(code for error in NEVER for code in error.__error_codes__ or ())


class Refused(AuraError):
    """Meta will never deliver this message."""

    kind = "whatsapp_refused"


class WindowClosed(AuraError):
    """The person has been silent for a day."""

    kind = "whatsapp_window_closed"


class CloudApi:
    """Sends messages, fetches media; safe to share between threads.

    Args:
        settings: token, phone number, address of the API.
        allowed: `host:port` that may be asked although they are not public.
    """

    def __init__(self, settings: WhatsAppSettings, allowed: Collection[str]) -> None:
        self._settings = settings
        self._client = GuardedClient(allowed)

    def _open(self) -> WhatsApp:
        # One for each call: pywa's session is not made to be shared.
        transport = _Guarded(self._client, self._settings)
        return WhatsApp(
            phone_id=self._settings.phone_id,
            token=self._settings.token,
            session=httpx.Client(transport=transport, follow_redirects=False),
        )

    def send(
        self,
        address: str,
        text: str,
        *,
        reply_to: str | None = None,
        picture: bytes | None = None,
        tracker: str | None = None,
    ) -> str:
        """Send a text, with a JPEG above it if there is one; returns Meta's id of the message.

        Raises:
            Refused, WindowClosed: see there. Anything else: try again later.
        """
        options: dict[str, Any] = {"reply_to_message_id": reply_to, "tracker": tracker}
        whatsapp = self._open()
        try:
            if picture is not None:
                sent: Any = whatsapp.send_image(
                    address, picture, text[:MAX_CAPTION], mime_type="image/jpeg", **options
                )
            else:
                sent = whatsapp.send_message(address, text[:MAX_TEXT], **options)
        except errors.ReEngagementMessage as error:
            raise WindowClosed(f"error {error.code}: {error.message}") from None
        except NEVER as error:
            raise Refused(f"error {error.code}: {error.message}") from None
        return str(sent.id)

    def fetch(self, media_id: str, target: Path, max_bytes: int) -> tuple[int, str]:
        """Write a media file into `target`; returns its size in bytes and its SHA-256.

        Raises:
            TooLarge. AddressRefused: Meta named a host that gets no token. FetchFailed, errors of
            pywa: try again later.
        """
        found = self._open().get_media_url(media_id)
        if found.file_size > max_bytes:
            raise TooLarge(f"the file has {found.file_size} bytes, and {max_bytes} are allowed")
        check_host(found.url, self._settings.media_hosts)
        digest, size = hashlib.sha256(), 0
        with (
            self._client.ask(
                "GET",
                found.url,
                headers={"Authorization": f"Bearer {self._settings.token}"},
                seconds=self._settings.fetch_seconds,
                max_bytes=max_bytes,
                redirects=0,  # they would take the token along
            ) as answer,
            target.open("wb") as file,
        ):
            if answer.status != OK:
                raise FetchFailed(f"the media host answered with status {answer.status}")
            for chunk in answer.body:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        if size != found.file_size:
            raise FetchFailed(f"{size} of {found.file_size} bytes came")
        return size, digest.hexdigest()


def check_host(url: str, hosts: Collection[str]) -> None:
    """Refuse to send the token to a host that is not on the list.

    Raises:
        AddressRefused: it is not.
    """
    if urlsplit(url).netloc not in hosts:
        raise AddressRefused("the media lie on a host that does not get the token")


class _Guarded(httpx.BaseTransport):
    """Asks what pywa asks, through the guarded client, of the API that the settings name."""

    def __init__(self, client: GuardedClient, settings: WhatsAppSettings) -> None:
        self._client = client
        self._settings = settings

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One exchange, without redirects, capped in bytes and time."""
        url = str(request.url)
        if not url.startswith(f"{GRAPH}/"):
            raise AddressRefused("only Meta's API is asked with the token")
        headers: Mapping[str, str] = {
            name: value
            for name, value in request.headers.items()
            if name not in {"host", "accept-encoding", "connection"}
        }
        with self._client.ask(
            request.method,
            self._settings.api.rstrip("/") + url.removeprefix(GRAPH),
            headers=headers,
            content=request.read(),
            seconds=self._settings.api_seconds,
            max_bytes=MAX_ANSWER,
            redirects=0,
        ) as answer:
            body = b"".join(answer.body)
        return httpx.Response(
            answer.status, headers=dict(answer.headers), content=body, request=request
        )
