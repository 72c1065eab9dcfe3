"""A stand-in for Meta's Cloud API on this machine, and what Meta posts to a webhook.

The posts have the shape of the examples in Meta's documentation of webhooks (2026), with numbers
and ids made up. `tests/service/whatsapp/test_payload.py` holds them against pywa's own types.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from stand_in import Answering, answering

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2 as httpx

TOKEN, PHONE, SECRET, VERIFY = "EAAtoken", "106540352242922", "app-secret", "any words"
ANN, JUAN, UTE = "15550100001", "34600100002", "4915550100003"
PATH = "/whatsapp/webhook"


@dataclass
class Meta:
    """What the API was asked, and how it answers.

    `status` other than 200: an error with `error_code`. `hangs`: seconds without a word, then
    nothing was taken. `answers_late`: seconds after which it says what it took.
    """

    port: int = 0
    status: int = 200
    error_code: int = 131000
    hangs: float = 0.0
    answers_late: float = 0.0
    media: dict[str, bytes] = field(default_factory=dict)
    media_url: str = ""  # instead of one on this host
    sent: list[dict[str, Any]] = field(default_factory=list)
    uploaded: list[bytes] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def texts(self) -> list[str]:
        return [text_of(message) for message in self.sent]

    def to(self, number: str) -> list[str]:
        return [text_of(message) for message in self.sent if message["to"] == number]

    def environment(self) -> dict[str, str]:
        return {
            "AURA_WHATSAPP_TOKEN": TOKEN,
            "AURA_WHATSAPP_PHONE_ID": PHONE,
            "AURA_WHATSAPP_APP_SECRET": SECRET,
            "AURA_WHATSAPP_VERIFY_TOKEN": VERIFY,
            "AURA_WHATSAPP_API": f"http://{self.host}",
            "AURA_WHATSAPP_MEDIA_HOSTS": self.host,
            "AURA_WHATSAPP_API_SECONDS": "1",
        }

    def offer(self, content: bytes) -> str:
        media_id = str(uuid.uuid4().int)[:16]
        self.media[media_id] = content
        return media_id


def text_of(message: dict[str, Any]) -> str:
    part = message[message["type"]]
    return part["body"] if message["type"] == "text" else part["caption"]


@contextlib.contextmanager
def meta_api() -> Iterator[Meta]:
    state = Meta()

    class Answers(Answering, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.tokens.add(self.headers["Authorization"])
            if self._refused():
                return
            name = self.path.rsplit("/", 1)[-1]
            content = state.media.get(name)
            if content is None:
                self._answer(404, {"error": {"code": 100, "message": "no such object"}})
            elif self.path.startswith("/media/"):
                self._answer(200, content)
            else:
                url = state.media_url or f"http://{state.host}/media/{name}"
                found = {"url": url, "mime_type": "video/mp4", "file_size": len(content)}
                digest = hashlib.sha256(content).hexdigest()
                self._answer(200, {**found, "sha256": digest, "id": name})

        def do_POST(self) -> None:
            state.tokens.add(self.headers["Authorization"])
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self._refused():
                return
            if self.path.endswith("/media"):
                state.uploaded.append(body)
                self._answer(200, {"id": str(len(state.uploaded))})
                return
            assert self.path.endswith(f"/{PHONE}/messages"), self.path
            state.sent.append(json.loads(body))
            to = {"input": state.sent[-1]["to"], "wa_id": state.sent[-1]["to"]}
            answer = {"messaging_product": "whatsapp", "contacts": [to]}
            wamid = f"wamid.out{len(state.sent)}"
            self._answer(200, {**answer, "messages": [{"id": wamid}]})

        def _refused(self) -> bool:
            time.sleep(state.hangs)
            failing = 503 if state.hangs else state.status
            if failing != 200:
                error = {"code": state.error_code, "message": "(#1) no", "type": "OAuthException"}
                self._answer(failing, {"error": error})
            return failing != 200

        def _answer(self, status: int, body: bytes | dict[str, Any]) -> None:
            time.sleep(state.answers_late)
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.answer(status, raw, Content_Type="application/json")

    with answering(Answers) as state.port:
        yield state


def message(kind: str, sender: str = ANN, *, ago: float = 0.0, **part: Any) -> dict[str, Any]:
    """One message, as in `messages` of a post."""
    return {
        "from": sender,
        "from_user_id": f"US.{sender}",
        "id": f"wamid.HBgL{uuid.uuid4().hex}",
        "timestamp": str(int(time.time() - ago)),
        "type": kind,
        kind: part,
    }


def text(body: str, sender: str = ANN, **more: Any) -> dict[str, Any]:
    return message("text", sender, body=body, **more)


def media(kind: str, media_id: str, sender: str = ANN, **part: Any) -> dict[str, Any]:
    types = {"video": "video/mp4", "image": "image/jpeg", "audio": "audio/ogg; codecs=opus"}
    mime_type = part.pop("mime_type", types.get(kind, "application/octet-stream"))
    return message(
        kind, sender, id=media_id, mime_type=mime_type, sha256="bm90IGNoZWNrZWQ=", **part
    )


def contact(number: str) -> dict[str, Any]:
    return {"profile": {"name": "A Person"}, "wa_id": number, "user_id": f"US.{number}"}


def post(*messages: dict[str, Any], **value: Any) -> dict[str, Any]:
    """What Meta posts, with these messages in it."""
    senders = dict.fromkeys(one["from"] for one in messages if "from" in one)
    contacts = [contact(number) for number in senders]
    found: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": PHONE},
        **({"contacts": contacts, "messages": list(messages)} if messages else {}),
        **value,
    }
    change = {"value": found, "field": "messages"}
    entry = {"id": "102290129340398", "changes": [change]}
    return {"object": "whatsapp_business_account", "entry": [entry]}


def status(message_id: str, state: str, **more: Any) -> dict[str, Any]:
    """What Meta posts about a message of ours."""
    told = {
        "id": message_id,
        "status": state,
        "timestamp": str(int(time.time())),
        "recipient_id": ANN,
    }
    return post(contacts=[contact(ANN)], statuses=[{**told, **more}])


def signature(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def deliver(client: httpx.Client, payload: dict[str, Any]) -> httpx.Response:
    """Post as Meta does."""
    body = json.dumps(payload, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": signature(body)}
    return client.post(PATH, content=body, headers=headers)
