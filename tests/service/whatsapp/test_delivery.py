"""When Meta's API is away, late, or never delivers: nothing is lost, nothing is sent twice."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from meta import ANN, JUAN, deliver, media, status, text

from aura.service.jobs import utc_now
from aura.service.tables import whatsapp_inbox, whatsapp_outbox

if TYPE_CHECKING:
    from whatsapp.bot import Bot


@pytest.mark.parametrize("trouble", ["500", "hanging", "token ran out"])
def test_a_dead_api_delays_messages_keeps_their_order_and_loses_none(
    bot: Bot, clip: bytes, trouble: str
) -> None:
    video = media("video", bot.meta.offer(clip))
    bot.meta.status = {"500": 500, "token ran out": 401}.get(trouble, 200)
    bot.meta.error_code = 190 if trouble == "token ran out" else 1
    bot.meta.hangs = 1.3 if trouble == "hanging" else 0.0
    bot.get(video)
    assert bot.jobs() == []
    assert bot.count(whatsapp_inbox, attempts=1, state="new") == 1
    assert bot.count(whatsapp_outbox, attempts=1, state="pending") == 1
    bot.rounds()  # nothing is due: nobody hammers a server that is down
    assert bot.count(whatsapp_inbox, attempts=1) == 1

    bot.meta.status, bot.meta.hangs = 200, 0.0
    bot.make_due()
    bot.rounds()
    bot.finish()
    bot.rounds()
    texts = [one[:8] for one in bot.meta.texts]
    assert texts == ["Received", "*This re"]
    assert bot.count(whatsapp_outbox, state="sent") == 2


def test_while_one_message_waits_the_next_one_to_the_same_person_waits_behind_it(bot: Bot) -> None:
    bot.meta.status = 500
    for n in range(3):
        bot.get(text(f"hello {n}"))
    bot.get(text("hola", JUAN))
    assert bot.count(whatsapp_outbox, state="pending") == 4
    bot.meta.status = 200
    with bot.api.service.engine.begin() as connection:  # the last is due first
        number = whatsapp_outbox.c.number
        due = utc_now() - timedelta(seconds=60)
        connection.execute(whatsapp_outbox.update().where(number == 3).values(next_at=due))
    bot.rounds()
    assert bot.meta.to(ANN) == []
    bot.make_due()
    bot.rounds()
    replied = [one["context"]["message_id"] for one in bot.meta.sent if one["to"] == ANN]
    with bot.api.service.engine.connect() as connection:
        query = sa.select(whatsapp_outbox.c.content).order_by(number)
        order = [row.content["reply_to"] for row in connection.execute(query)]
    assert replied == [one for one in order if one in replied]
    assert len(replied) == 3


def test_a_message_whose_answer_was_lost_is_not_sent_twice(bot: Bot) -> None:
    bot.meta.answers_late = 1.3  # Meta takes it, but we do not hear of it
    bot.get(text("hello"))
    (sent,) = bot.meta.sent
    assert bot.count(whatsapp_outbox, state="pending") == 1
    bot.meta.answers_late = 0.0
    tracker = sent["biz_opaque_callback_data"]
    told = status("wamid.out1", "delivered", biz_opaque_callback_data=tracker)
    assert deliver(bot.client, told).status_code == 200
    bot.make_due()
    bot.rounds()
    assert len(bot.meta.sent) == 1
    assert bot.count(whatsapp_outbox, state="sent", message_id="wamid.out1") == 1


def test_what_meta_can_never_deliver_is_given_up_and_holds_up_nobody(bot: Bot) -> None:
    bot.meta.status, bot.meta.error_code = 400, 131026
    bot.get(text("hello"))
    bot.meta.status = 200
    bot.get(text("hello"))
    assert bot.count(whatsapp_outbox, state="failed") == 1
    assert len(bot.meta.sent) == 1
