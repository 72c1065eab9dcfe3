"""A folder of temporary files for each process, and who clears up after a killed one.

A process holds a lock on its folder as long as it lives, however it ends; whoever finds a folder
whose lock is free may delete it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

LOCK = ".lock"


class Scratch:
    """This process's folder under `root`."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._root = root
        # Made under a name that `clear_abandoned` leaves alone, and locked before it is renamed.
        made = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
        self._lock = os.open(made / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = root / f"{os.getpid()}-{made.name.removeprefix('.new-')}"
        made.rename(self.path)

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)


def clear_abandoned(root: Path) -> int:
    """Delete the folders of processes that are gone; returns how many."""
    cleared = 0
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.name.startswith(".new-"):
            continue
        with contextlib.suppress(OSError):
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                cleared += 1
            finally:
                os.close(lock)
    return cleared
