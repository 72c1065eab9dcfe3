"""Entry point: the `aura` command and `python -m aura`.

Nothing heavy is imported before `main` runs, so that Ctrl-C ends as quietly during the imports
behind it as it does later.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn

from aura.errors import Cancelled

# Stages of an analysis run side by side; threads inside NumPy's and OpenCV's functions, most of
# which take well under a millisecond, only get in their way (a twentieth of the time).
ONE_THREAD_EACH = ("OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


def main() -> None:
    """Run the command line and end the process with its exit code."""
    for name in ONE_THREAD_EACH:  # both are read when the libraries are imported
        os.environ.setdefault(name, "1")
    try:
        from aura.interrupts import remembered  # noqa: PLC0415 - see above

        with remembered():
            from aura.cli import run  # noqa: PLC0415

            code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("aura: stopped; nothing was kept\n")
        code = Cancelled.exit_code
    if code == Cancelled.exit_code or _is_done():
        _end(code)
    sys.exit(code)


def _is_done() -> bool:
    """Whether nothing is left to wait for, and all that was said is out."""
    others = [one for one in threading.enumerate() if one is not threading.main_thread()]
    if any(not one.daemon for one in others):
        return False
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return False  # a full disk, say: Python's own exit tells of it
    return True


def _end(code: int) -> NoReturn:
    """End at once, everything being cleared up.

    Threads may be inside an engine still; Python unwinds those at its exit, and C++ code answers
    that by aborting the process. And taking networks apart, which the system does in no time, would
    cost a tenth of a short analysis.
    """
    atexit._run_exitfuncs()  # as `sys.exit` does
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
