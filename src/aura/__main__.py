"""Entry point: the `aura` command and `python -m aura`.

Nothing heavy is imported before `main` runs, so that Ctrl-C ends as quietly during the imports
behind it as it does later.
"""

from __future__ import annotations

import sys

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
        # An interrupt within an `exec` of text, as data classes do while they are imported, makes
        # Python end itself by the signal at exit, though it was caught; the next one forgets that.
        exec("")  # noqa: S102
    sys.exit(code)


if __name__ == "__main__":
    main()
