"""Entry point: the `aura` command and `python -m aura`.

Nothing heavy is imported before `main` runs, so that Ctrl-C ends as quietly during the imports
behind it as it does later.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

from aura.errors import Cancelled


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        from aura.interrupts import remembered  # noqa: PLC0415 - see above

        with remembered():
            from aura.cli import run  # noqa: PLC0415

            code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("aura: stopped; nothing was kept\n")
        code = Cancelled.exit_code
    if code == Cancelled.exit_code:
        _end(code)
    sys.exit(code)


def _end(code: int) -> NoReturn:
    """End at once, everything being cleared up: threads may be inside an engine still.

    Python unwinds those at its exit, and C++ code answers that by aborting the process.
    """
    atexit._run_exitfuncs()  # as `sys.exit` does
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
