"""Ctrl-C that can't get lost, for the command line; `import aura` installs nothing of this.

Python raises KeyboardInterrupt wherever the main thread happens to be. Inside a callback that
Python guards (of its import locks, of weak references, `__del__`) it is printed and dropped, and
an engine's C++ code may drop it without a word or raise something else in its place. So a press is
remembered as well: what runs long asks `look` often, and a press that was dropped takes effect at
the next step.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aura.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

CLEARING_SECONDS = 1.0  # after a second press, for what is on its way out

_presses = 0


@contextmanager
def remembered() -> Iterator[None]:
    """While this is entered, Ctrl-C raises KeyboardInterrupt as ever, and `pressed` knows of it.

    A second press ends the process within `CLEARING_SECONDS`, whatever it is busy with. Nothing is
    changed outside the main thread, and where somebody else handles or ignores the signal.
    """
    global _presses  # noqa: PLW0603 - there is one keyboard
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    owner, unraisable = os.getpid(), sys.unraisablehook

    def press(number: int, frame: FrameType | None) -> None:
        global _presses  # noqa: PLW0603
        _presses += 1
        if _presses > 1 and os.getpid() == owner:
            threading.Thread(target=_end, name="aura-end", daemon=True).start()
        signal.default_int_handler(number, frame)

    def drop(what: sys.UnraisableHookArgs) -> None:
        if not (_presses and issubclass(what.exc_type, KeyboardInterrupt)):
            unraisable(what)

    signal.signal(signal.SIGINT, press)
    sys.unraisablehook = drop
    try:
        yield
    finally:
        sys.unraisablehook = unraisable
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _presses = 0


def pressed() -> bool:
    """Whether Ctrl-C was pressed since `remembered` was entered."""
    return _presses > 0


def look() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed, for the case that the first one was lost."""
    if _presses:
        raise KeyboardInterrupt


def _end() -> None:
    time.sleep(CLEARING_SECONDS)
    show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar hides it
    os.write(2, f"{show_cursor}aura: stopped at once, without clearing up\n".encode())
    os._exit(Cancelled.exit_code)
