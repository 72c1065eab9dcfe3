"""The webhook: what Meta may ask and post, and nobody else; and what nobody hears of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from meta import ANN, PATH, PHONE, VERIFY, media, meta_api, post, signature, text

from aura.service.guarded import AddressRefused
from aura.service.jobs import JobState
from aura.service.tables import whatsapp_inbox

if TYPE_CHECKING:
    from pathlib import Path

    from whatsapp.bot import Bot


def test_meta_is_told_that_this_is_the_address_and_nobody_else_is(bot: Bot) -> None:
    asked = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": VERIFY}
    answer = bot.client.get(PATH, params=asked)
    assert (answer.status_code, answer.text) == (200, "1158201444")
    assert answer.headers["content-type"].startswith("text/plain")
    for wrong in (
        {"hub.verify_token": "x"},
        {"hub.mode": "unsubscribe"},
        {"hub.verify_token": "ö"},
    ):
        assert bot.client.get(PATH, params={**asked, **wrong}).status_code == 403
    assert bot.client.get(PATH).status_code == 403


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 403),
        ({"X-Hub-Signature-256": ""}, 403),
        ({"X-Hub-Signature-256": "sha256="}, 403),
        ({"X-Hub-Signature-256": "sha256=" + "0" * 64}, 403),
        ({"X-Hub-Signature-256": signature(b"{}", "another secret")}, 403),
        ({"X-Hub-Signature-256": signature(b"{ }")}, 403),
        ({"X-Hub-Signature-256": b"sha256=\xff\xfe"}, 403),
        ({"X-Hub-Signature": "sha1=" + "0" * 40}, 403),
        ({"X-Hub-Signature-256": signature(b"{}")}, 200),
    ],
)
def test_only_what_meta_signed_is_read(bot: Bot, headers: dict[str, Any], expected: int) -> None:
    assert bot.client.post(PATH, content=b"{}", headers=headers).status_code == expected


def test_posts_that_are_no_posts_are_refused_and_odd_ones_do_nothing(bot: Bot) -> None:
    def send(body: bytes) -> int:
        headers = {"X-Hub-Signature-256": signature(body)}
        return bot.client.post(PATH, content=body, headers=headers).status_code

    assert send(b"no json") == 400
    assert send(b"[" * 100_000) == 400
    assert send(b" " * (3 * 2**20 + 1)) == 413
    hello = text("hello")
    for odd in (
        [],
        {"entry": None},
        {"entry": [{"changes": [None, {"field": "messages", "value": []}]}]},
        post({**hello, "id": "x" * 256}),
        post({**hello, "timestamp": "soon"}),
        post({**hello, "timestamp": "9" * 40}),
        post({**hello, "from": 5}),
        post({**hello}, metadata={"phone_number_id": "another"}),
        post(statuses=[None, {"id": 5}]),
    ):
        assert send(json.dumps(odd).encode()) == 200
    assert bot.count(whatsapp_inbox) == 0


def test_the_token_goes_to_no_other_host_whatever_meta_names(
    bot: Bot, clip: bytes, tmp_path: Path
) -> None:
    from aura.integrations.whatsapp.client import CloudApi
    from aura.integrations.whatsapp.settings import read_whatsapp_settings

    settings = read_whatsapp_settings()
    assert settings is not None
    with meta_api() as stranger:
        media_id = bot.meta.offer(clip)
        stranger.media[media_id] = clip
        bot.meta.media_url = f"http://{stranger.host}/media/{media_id}"
        # The guarded client would let it pass: what refuses is the list of hosts for the token.
        api = CloudApi(settings, (bot.meta.host, stranger.host))
        with pytest.raises(AddressRefused, match="does not get the token"):
            api.fetch(media_id, tmp_path / "got", len(clip))
        assert stranger.tokens == set()
        bot.get(media("video", media_id))
        assert bot.count(whatsapp_inbox, attempts=1, state="new") == 1  # tried again later
    assert bot.jobs() == []


def test_the_log_and_the_api_name_no_number(bot: Bot, clip: bytes) -> None:
    bot.get(media("video", bot.meta.offer(clip)))
    (job,) = bot.jobs()
    assert job.owner.startswith("whatsapp.")
    assert PHONE not in job.owner
    assert ANN not in bot.client.get("/openapi.json").text
    assert PATH not in bot.client.get("/openapi.json").text
    assert JobState(job.state) is JobState.QUEUED
