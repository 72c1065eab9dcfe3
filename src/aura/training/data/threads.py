"""Many files looked into at once; hashing and decoding leave Python's lock alone."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from aura.runtime import cpu_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2  # files in hand for each thread: none idles, and Ctrl-C need not wait for a long queue


def in_threads(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int | None,
    stage: str,
    hook: Callable[[str, float, float | None], None] | None,
) -> Iterator[Result]:
    """Results in the order of the items; what `work` raises is raised here and ends it all.

    Args:
        workers: threads; as many as processors by default.
        hook: told (stage, completed, total) after each item.

    >>> list(in_threads(abs, [-2, 1, -3], 2, "demo", None))
    [2, 1, 3]
    """
    workers = workers or cpu_threads()
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[Result]] = deque()
    done = 0
    try:
        for number, item in enumerate(items, start=1):
            waiting.append(pool.submit(work, item))
            while len(waiting) >= AHEAD * workers or (waiting and number == len(items)):
                result = waiting.popleft().result()
                done += 1
                if hook:
                    hook(stage, done, len(items))
                yield result
    finally:
        pool.shutdown(cancel_futures=True)
