"""What Meta posts to the webhook, reduced to what the bot needs.

A post holds any number of entries, changes and messages, not one of each. It was signed by Meta,
but what people wrote is in it: nothing is taken over that is not looked at here.
Source: developers.facebook.com/documentation/business-messaging/whatsapp/webhooks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MEDIA_KINDS = frozenset({"video", "audio", "image", "document"})
MAX_ID = 255  # characters of a message's id
MAX_ADDRESS = 200
MAX_TEXT = 200  # characters of a text; the longest word that the bot knows is shorter


@dataclass(frozen=True)
class Incoming:
    """One message of one person.

    `address`: whom an answer goes to, the group in a group. `content`: what its kind needs, short
    enough to be kept.
    """

    id: str
    address: str
    is_group: bool
    kind: str
    sent_at: datetime
    content: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Delivered:
    """What became of a message of ours: `state` as Meta names it, `tracker` as we sent it along."""

    message_id: str
    state: str
    tracker: str | None = None
    error_code: int | None = None


def read_payload(body: Any, phone_id: str) -> tuple[tuple[Incoming, ...], tuple[Delivered, ...]]:
    """Messages and states for one phone number of ours; what can't be read is left out."""
    incoming: list[Incoming] = []
    delivered: list[Delivered] = []
    for value in _values(body):
        metadata = _mapping(value.get("metadata"))
        if str(metadata.get("phone_number_id")) != phone_id:
            continue  # an app can have several numbers, each with a bot of its own
        incoming += filter(None, map(_incoming, _list(value.get("messages"))))
        delivered += filter(None, map(_delivered, _list(value.get("statuses"))))
    return tuple(incoming), tuple(delivered)


def _values(body: Any) -> Iterator[Mapping[str, Any]]:
    for entry in _list(_mapping(body).get("entry")):
        for change in _list(_mapping(entry).get("changes")):
            if _mapping(change).get("field") == "messages":
                yield _mapping(change.get("value"))


def _incoming(raw: Any) -> Incoming | None:
    message = _mapping(raw)
    kind, message_id = str(message.get("type") or ""), message.get("id")
    group = message.get("group_id")
    # A person who hides their number has an id of another form instead.
    address = group or message.get("from") or message.get("from_user_id")
    seconds = str(message.get("timestamp") or "")
    if not (_short(message_id, MAX_ID) and _short(address, MAX_ADDRESS) and seconds.isdecimal()):
        return None
    try:
        sent_at = datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return Incoming(
        id=str(message_id),
        address=str(address),
        is_group=group is not None,
        kind=kind[:30],
        sent_at=sent_at,
        content=_content(kind, _mapping(message.get(kind))),
    )


def _content(kind: str, part: Mapping[str, Any]) -> dict[str, Any]:
    if kind == "text":
        return {"text": str(part.get("body") or "")[:MAX_TEXT]}
    if kind in MEDIA_KINDS:
        return {
            "media_id": str(part.get("id") or "")[:MAX_ID],
            "mime_type": str(part.get("mime_type") or "")[:100],
            "filename": str(part.get("filename") or "")[:MAX_TEXT],
            "voice": part.get("voice") is True,
        }
    return {}


def _delivered(raw: Any) -> Delivered | None:
    status = _mapping(raw)
    message_id, state = status.get("id"), status.get("status")
    if not (_short(message_id, MAX_ID) and _short(state, 30)):
        return None
    tracker = status.get("biz_opaque_callback_data")
    errors = _list(status.get("errors"))
    code = _mapping(errors[0]).get("code") if errors else None
    return Delivered(
        message_id=str(message_id),
        state=str(state),
        tracker=str(tracker) if _short(tracker, MAX_ID) else None,
        error_code=code if isinstance(code, int) else None,
    )


def _short(value: Any, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
