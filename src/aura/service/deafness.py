"""Notices that Celery has stopped taking messages, and ends it; `aura worker` starts it anew.

After Redis was restarted Celery sometimes goes on living, heartbeats included, and never asks for
another message (seen with Celery 5 and killed pool processes: two jobs waited for minutes while
218 messages did). Nothing in Celery notices that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import redis
from celery.worker import state

from aura.service.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

log = get_logger("worker")

LOOK_SECONDS = 5.0
DEAF_SECONDS = 75.0  # longer than a new pool process may take to come up
GRACE_SECONDS = 20.0  # for a Celery that was asked to end


class Listening:
    """Decides by successive looks whether messages wait for somebody who does not take any."""

    def __init__(self, deaf_seconds: float) -> None:
        self._deaf_seconds = deaf_seconds
        self._since: float | None = None
        self._taken = 0

    def is_deaf(self, now: float, *, waiting: int, busy: bool, taken: int) -> bool:
        """One look.

        Args:
            now: seconds on a clock that only goes forward. waiting: messages in the queue.
            busy: whether a task is under way. taken: tasks taken since the start.

        >>> look = Listening(10.0)
        >>> look.is_deaf(0.0, waiting=2, busy=False, taken=1)
        False
        >>> look.is_deaf(11.0, waiting=2, busy=False, taken=1)
        True
        """
        if not waiting or busy or taken != self._taken:
            self._since, self._taken = None, taken
        if waiting and not busy and self._since is None:
            self._since = now
        return self._since is not None and now - self._since > self._deaf_seconds


def watch(redis_url: str, queue: str, end: Callable[[], None] | None = None) -> None:
    """Look every few seconds, for ever; end this process once it is deaf. Body of a thread.

    Args:
        redis_url: of the broker. queue: name of its list. end: instead of ending this process.
    """
    client = redis.Redis.from_url(redis_url, socket_timeout=10.0, socket_connect_timeout=2.0)
    listening = Listening(DEAF_SECONDS)
    while True:
        time.sleep(LOOK_SECONDS)
        waiting = 0
        with contextlib.suppress(redis.RedisError):  # away: then nothing can be taken either
            waiting = int(str(client.llen(queue)))
        taken = sum(state.total_count.values())
        busy = bool(len(state.active_requests))
        if listening.is_deaf(time.monotonic(), waiting=waiting, busy=busy, taken=taken):
            log.error("celery_takes_no_messages", waiting=waiting)
            (end or _end)()
            return


def _end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def start_watching(redis_url: str, queue: str) -> None:
    """Watch in a thread of its own."""
    threading.Thread(
        target=watch, args=(redis_url, queue), name="aura-listening", daemon=True
    ).start()
