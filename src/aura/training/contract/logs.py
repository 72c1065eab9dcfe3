"""The record of a run: JSON lines for programs, TensorBoard for people."""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Any, Self

from aura.batch import write_whole
from aura.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

LOG, BOARD = "log.jsonl", "tensorboard"
NOT_PLOTTED = ("event", "step", "epoch")


class RunLog:
    """Lines of log.jsonl, each with `event` (step or epoch), `step` (steps done), and figures.

    Args:
        folder: of the run. step: from which it goes on; what an earlier try logged after that is
            cut off, so that the file reads as if nothing had happened. board: write TensorBoard's
            files as well.

    Raises:
        UsageError: the file can't be written.
    """

    def __init__(self, folder: Path, step: int, *, board: bool) -> None:
        self.path = folder / LOG
        try:
            if self.path.is_file():
                write_whole(self.path, "".join(_until(self.path, step)))
            self._stream = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{self.path} can't be written ({error.strerror})") from error
        self._board: Any = _writer(folder / BOARD, step) if board else None

    def write(self, event: str, step: int, **figures: Any) -> None:
        """One line; what is no number stays null.

        Raises:
            UsageError: the disk is full.
        """
        clean = {name: _plain(value) for name, value in figures.items()}
        try:
            self._stream.write(json.dumps({"event": event, "step": step, **clean}) + "\n")
            self._stream.flush()
            if self._board is not None:
                for name, value in clean.items():
                    if name not in NOT_PLOTTED and isinstance(value, int | float):
                        self._board.add_scalar(f"{event}/{name}", value, step)
        except OSError as error:
            raise UsageError(
                f"{self.path} can't be written ({error.strerror}); make room, then resume"
            ) from error

    def close(self) -> None:
        """Write what is left."""
        self._stream.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _until(path: Path, step: int) -> list[str]:
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue  # cut short by a kill
    return kept


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _writer(folder: Path, step: int) -> Any:
    # TensorBoard's writer would else look for TensorFlow, and take a second over it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional, slow
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
