"""Run a generator in a thread, some items ahead of its consumer."""

from __future__ import annotations

import atexit
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

T = TypeVar("T")


def run_ahead(
    items: Iterable[T], *, max_items: int, max_bytes: int, size_of: Callable[[T], int], name: str
) -> Generator[T, None, None]:
    """Yield `items` while a thread called `name` already makes the next ones.

    What the thread raises is raised here. Closing this generator (or an exception in its consumer)
    stops the thread at its next item and waits for it; a generator never closed does not keep
    Python from exiting.

    Args:
        items: iterated in the thread; closed there when it is a generator.
        max_items, max_bytes: how far the thread may run ahead; one item always may.
        size_of: bytes that an item holds.

    >>> list(run_ahead(range(3), max_items=1, max_bytes=1, size_of=lambda _: 1, name="demo"))
    [0, 1, 2]
    """
    pipe: _Pipe[T] = _Pipe(max_items, max_bytes)
    thread = threading.Thread(target=_fill, args=(pipe, items, size_of), name=name, daemon=True)
    thread.start()
    try:
        while (entry := pipe.get()) is not None:
            yield entry[0]
    finally:
        pipe.close()
        thread.join()


class _Closed(Exception):
    pass


class _Pipe(Generic[T]):
    """A queue bounded by items and by bytes that either end can close at any time."""

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._condition = threading.Condition()
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._finished = False
        self._closed = False
        self._error: BaseException | None = None
        _live_pipes.add(self)

    def put(self, item: T, size: int) -> None:
        with self._condition:
            while not self._closed and self._full(size):
                self._condition.wait()
            if self._closed:
                raise _Closed
            self._items.append((item, size))
            self._bytes += size
            self._condition.notify_all()

    def _full(self, size: int) -> bool:
        too_many = len(self._items) >= self._max_items or self._bytes + size > self._max_bytes
        return bool(self._items) and too_many

    def get(self) -> tuple[T, int] | None:
        """The next item and its size, None after the last; raises what the producer raised."""
        with self._condition:
            while not self._items and not self._finished and not self._closed:
                self._condition.wait()
            if self._items:
                entry = self._items.popleft()
                self._bytes -= entry[1]
                self._condition.notify_all()
                return entry
            if self._error is not None:
                raise self._error
            return None

    def finish(self, error: BaseException | None) -> None:
        with self._condition:
            self._finished, self._error = True, error
            self._condition.notify_all()

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._items.clear()
            self._condition.notify_all()


def _fill(pipe: _Pipe[T], items: Iterable[T], size_of: Callable[[T], int]) -> None:
    """Body of the thread."""
    error: BaseException | None = None
    try:
        for item in items:
            pipe.put(item, size_of(item))
    except _Closed:
        pass
    except BaseException as raised:  # noqa: BLE001 - it is raised again in the consumer's thread
        error = raised
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
        pipe.finish(error)


_live_pipes: WeakSet[_Pipe[Any]] = WeakSet()


@atexit.register
def _close_pipes() -> None:
    """A generator left half-read must not keep its thread at work while Python exits."""
    for pipe in list(_live_pipes):
        pipe.close()
