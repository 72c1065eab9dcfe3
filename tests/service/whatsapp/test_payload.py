"""The posts that the tests send are what Meta sends: pywa, which is not ours, reads the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from meta import ANN, PHONE, SECRET, media, message, post, signature, status, text

pytest.importorskip("pywa", reason="needs the extra: pip install 'aura-veracity[whatsapp]'")

from pywa import WhatsApp, utils
from pywa.types import Message, MessageStatus
from pywa.types.base_update import RawUpdate

from aura.integrations.whatsapp.payload import read_payload
from aura.integrations.whatsapp.routes import signature_fits

SENT = {
    "video": media("video", "1234567890", caption="is this true?"),
    "voice note": media("audio", "1234567891", voice=True),
    "picture": media("image", "1234567892"),
    "document": media("document", "1234567893", filename="a.mp4", mime_type="video/mp4"),
    "text": text("hello"),
    "reaction": message("reaction", message_id="wamid.1", emoji="\u2764"),
    "location": message("location", latitude=1.0, longitude=2.0),
    "group": {**text("hello"), "group_id": "Y2FwaV9ncm91cDoxNzAQ"},
}


def pywa_reads(payload: dict[str, Any], kind: Any) -> Any:
    return kind.from_update(
        WhatsApp(PHONE, "token"),
        RawUpdate(json.dumps(payload).encode(), hmac_header=None, update_hash=""),
    )


@pytest.mark.parametrize("name", SENT)
def test_messages(name: str) -> None:
    payload = post(SENT[name])
    theirs = pywa_reads(payload, Message)
    ((ours,), _) = read_payload(payload, PHONE)
    assert (ours.id, ours.kind, ours.sent_at) == (theirs.id, theirs.type.value, theirs.timestamp)
    assert ours.address == (theirs.chat.id if name == "group" else ANN)
    if theirs.media is not None:
        assert ours.content["media_id"] == theirs.media.id
        assert ours.content["mime_type"] == theirs.media.mime_type
        assert ours.content["voice"] == (theirs.voice is not None)
    if theirs.type == "text":
        assert ours.content["text"] == theirs.text


def test_states() -> None:
    error = {"code": 131047, "title": "Re-engagement message", "message": "Re-engagement message"}
    payload = status("wamid.9", "failed", errors=[error], biz_opaque_callback_data="abc")
    theirs = pywa_reads(payload, MessageStatus)
    _, (ours,) = read_payload(payload, PHONE)
    assert (ours.message_id, ours.state, ours.tracker) == (theirs.id, "failed", theirs.tracker)
    assert theirs.status == "failed"
    assert ours.error_code == theirs.error.code


def test_signatures() -> None:
    body = json.dumps(post(text("hello"))).encode()
    assert utils.webhook_updates_validator(SECRET, body, signature(body))
    assert signature_fits(SECRET, body, signature(body))
    assert not signature_fits(SECRET, body + b" ", signature(body))


def test_somebody_who_hides_their_number_can_be_answered() -> None:
    hidden = text("hello")
    del hidden["from"]
    hidden["from_user_id"] = "US.13491208655302741918"
    ((ours,), _) = read_payload(post(hidden), PHONE)
    assert ours.address == "US.13491208655302741918"
