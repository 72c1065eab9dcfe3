"""What tests of training compare runs by, and the calm in which they can be compared."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from aura.training.contract.logs import LOG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMES = ("seconds", "waited", "windows_per_second")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """All lines of a run's log."""
    return [json.loads(line) for line in (folder / LOG).read_text("utf-8").splitlines()]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """For this process and those that it starts: sums in another order are other sums.

    Networks as small as those of tests lose more by sharing work than they gain, too.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


def weights(run: Path, name: str = "latest") -> bytes:
    return (run / name / "weights.safetensors").read_bytes()


def curve(run: Path) -> list[dict[str, Any]]:
    """The log without what the clock says."""
    return [{k: v for k, v in one.items() if k not in TIMES} for one in read_log(run)]
