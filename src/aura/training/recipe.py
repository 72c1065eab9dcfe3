"""How the steps of every recipe (`python -m aura.training.NAME STEP`) end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from aura.errors import AuraError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable


def told(main: Callable[[], None]) -> None:
    """Run a recipe's command; what is wrong is told in a line, with the exit code of `aura`.

    A file that an earlier step should have written counts as input that is not there.
    """
    try:
        main()
    except AuraError as error:
        sys.stderr.write(f"aura: {error}\n")
        sys.exit(error.exit_code)
    except FileNotFoundError as error:
        sys.stderr.write(f"aura: {error.filename} is missing; run the steps before this one\n")
        sys.exit(InputError.exit_code)
