"""Many items worked on in processes that die with their parent, and whose crashes cost one item.

Processes rather than threads: finding faces holds Python's lock too often for many threads, and a
file that crashes the decoder must not end a night's run.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

import cv2

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from multiprocessing.connection import Connection

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2  # items in hand for each process: none idles


def in_processes(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    crashed: Callable[[Item], Result],
) -> Generator[Result, None, None]:
    """Results as they come; what `work` raises is raised here and ends it all at once.

    Args:
        work: a module's function (or a partial of one) that can be sent to other processes.
        workers: processes; with one, everything happens in this process.
        crashed: the result of an item whose process died twice, the second time on its own.
    """
    if workers == 1:
        yield from map(work, items)
        return
    suspects: list[Item] = []
    rest = list(items)
    while rest:
        rest, broken = yield from _run(work, rest, workers)
        suspects += broken
    for item in suspects:
        _, broken = yield from _run(work, [item], 1)
        yield from map(crashed, broken)


def _run(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Generator[Result, None, tuple[list[Item], list[Item]]]:
    """Results until all is done or a process dies; returns what is left, and what was in hand."""
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
    lifeline, hold = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _begin, (lifeline,))
    waiting: dict[Future[Result], Item] = {}
    left = list(reversed(items))
    try:
        while left or waiting:
            while left and len(waiting) < AHEAD * workers:
                with _no_interrupt():  # a process inherits that it does not see Ctrl-C
                    future = pool.submit(work, left[-1])
                waiting[future] = left.pop()
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                result = future.result()
                del waiting[future]
                yield result
    except BrokenProcessPool:
        return left[::-1], list(waiting.values())
    finally:
        hold.close()  # whoever still works ends here and now
        pool.shutdown(cancel_futures=True)
        lifeline.close()
    return [], []


def _begin(lifeline: Connection) -> None:
    """First thing in a process: end when the parent lets go of the other end, killed or not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)  # there are as many processes as processors

    def watch() -> None:
        with suppress(EOFError, OSError):
            lifeline.recv()
        os._exit(1)

    threading.Thread(target=watch, name="aura-lifeline", daemon=True).start()


@contextmanager
def _no_interrupt() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
