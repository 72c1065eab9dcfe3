"""Who writes: limits, groups, languages, forgetting, and the day in which Meta lets us answer."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from meta import ANN, JUAN, UTE, deliver, media, message, status, text

from aura.service.jobs import utc_now
from aura.service.tables import whatsapp_inbox, whatsapp_outbox, whatsapp_senders

if TYPE_CHECKING:
    from whatsapp.bot import Bot


def test_limits_hold_for_each_sender_and_are_said_once_a_day(bot: Bot, clip: bytes) -> None:
    for n in range(4):
        bot.get(media("video", bot.meta.offer(clip + n.to_bytes(2, "big"))))
    bot.get(media("video", bot.meta.offer(clip), UTE))
    assert len(bot.jobs()) == 3
    said = [one for one in bot.meta.to(ANN) if not one.startswith("Received")]
    assert said == ["That was your 2. analysis of today; more from 00:00 UTC on."]


def test_a_group_is_answered_once_and_nothing_from_it_is_fetched(bot: Bot, clip: bytes) -> None:
    video = media("video", bot.meta.offer(clip))
    for n in range(2):
        bot.get({**video, "id": f"wamid.{n}", "group_id": "Y2FwaV9ncm91cDoxNzAQ"})
    assert [one["recipient_type"] for one in bot.meta.sent] == ["group"]
    assert bot.meta.texts == ["I answer in private chats only. Please send me the video there."]
    assert bot.jobs() == []


def test_people_are_answered_in_their_language_and_can_choose_another(bot: Bot) -> None:
    bot.get(text("hallo", UTE))
    bot.get(text("hola", JUAN))
    bot.get(text("*English*", JUAN))
    bot.get(text("hola", JUAN))
    assert bot.meta.to(UTE)[0].startswith("Schick mir ein Video")
    first, chosen, after = bot.meta.to(JUAN)
    assert first.startswith("Envíame un vídeo")
    assert chosen == "From now on in English."
    assert after.startswith("Send me a video")


def test_who_asks_for_it_is_forgotten(bot: Bot, clip: bytes) -> None:
    bot.get(media("video", bot.meta.offer(clip)), media("video", bot.meta.offer(clip), JUAN))
    bot.finish()
    bot.rounds()
    bot.get(text("delete"))
    assert bot.meta.to(ANN)[-1] == "Everything that you sent was erased, 1 analyses with it."
    (ann, juan) = sorted(bot.jobs(), key=lambda job: job.erased_at is None)
    assert (ann.report, ann.media_sha256, ann.filename) == (None, None, "")
    assert juan.report is not None
    sender = ann.owner.removeprefix("whatsapp.")
    with bot.api.service.engine.connect() as connection:
        query = sa.select(whatsapp_inbox).where(whatsapp_inbox.c.sender == sender)
        kept = [(row.content, row.job_id) for row in connection.execute(query)]
    assert kept == [({}, None), ({}, None)]
    assert bot.count(whatsapp_outbox, sender=sender) == 1  # the answer to this


def test_old_messages_and_silent_senders_are_forgotten_in_the_end(bot: Bot) -> None:
    bot.get(text("hello"))
    old = utc_now() - timedelta(days=31)
    bot.change(whatsapp_senders, wrote_at=old)
    bot.change(whatsapp_inbox, received_at=old)
    bot.change(whatsapp_outbox, created_at=old)
    from aura.integrations.whatsapp import inbox

    (extension,) = bot.api.extensions
    inbox.forget_before(extension.rounds["whatsapp-inbox"].__self__, utc_now() - timedelta(days=30))
    for table in (whatsapp_inbox, whatsapp_outbox, whatsapp_senders):
        assert bot.count(table) == 0


def test_nobody_is_written_to_who_was_silent_for_a_day_until_they_write(
    bot: Bot, clip: bytes
) -> None:
    bot.get(media("video", bot.meta.offer(clip)))
    bot.change(whatsapp_senders, wrote_at=utc_now() - timedelta(hours=25))
    bot.finish()
    bot.rounds()
    assert len(bot.meta.sent) == 1
    assert bot.count(whatsapp_outbox, state="parked") == 1
    bot.get(text("hello?"))
    assert [one[:12] for one in bot.meta.texts] == ["Received. Yo", "*This resemb", "Send me a vi"]

    # Meta's own clock decides: it says so at once, or after it took the message.
    bot.meta.status, bot.meta.error_code = 400, 131047
    bot.get(text("again"))
    assert bot.count(whatsapp_outbox, state="parked") == 1
    bot.meta.status = 200
    error = [{"code": 131047, "title": "Re-engagement message"}]
    deliver(bot.client, status("wamid.out3", "failed", errors=error))
    assert bot.count(whatsapp_outbox, state="parked") == 2


def test_a_message_that_comes_a_day_late_or_is_replayed_then_is_not_acted_on(bot: Bot) -> None:
    bot.get(message("text", ago=25 * 3600, body="hello"))
    assert bot.meta.sent == []
    assert bot.count(whatsapp_inbox, state="done") == 1
