"""A Celery that takes no messages any more is noticed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from redis import Redis

from aura.service import deafness
from aura.service.deafness import Listening

if TYPE_CHECKING:
    import pytest
    import servers


def test_who_is_busy_takes_messages_or_has_none_is_not_deaf() -> None:
    look = Listening(10.0)
    assert not look.is_deaf(0.0, waiting=3, busy=False, taken=0)
    assert not look.is_deaf(20.0, waiting=3, busy=True, taken=1)
    assert not look.is_deaf(40.0, waiting=3, busy=False, taken=2)
    assert not look.is_deaf(49.0, waiting=3, busy=False, taken=2)
    assert not look.is_deaf(60.0, waiting=0, busy=False, taken=2)
    assert not look.is_deaf(61.0, waiting=1, busy=False, taken=2)
    assert look.is_deaf(72.0, waiting=1, busy=False, taken=2)


def test_messages_that_nobody_takes_end_the_process_also_after_redis_was_away(
    redis: servers.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deafness, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(deafness, "DEAF_SECONDS", 0.3)
    ended = threading.Event()
    thread = threading.Thread(target=deafness.watch, args=(redis.url, "q", ended.set), daemon=True)
    thread.start()
    assert not ended.wait(0.6)  # an empty queue is no reason
    redis.stop()
    redis.start()
    Redis.from_url(redis.url).rpush("q", "message")
    assert ended.wait(20)
    thread.join(5)
