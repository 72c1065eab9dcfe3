"""A short run of `chaos`; the long one is a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import chaos
import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("mode", ["machine", "fleet"])
def test_every_job_ends_exactly_once_whatever_is_killed(
    mode: str, tmp_path: Path, postgres_url: str
) -> None:
    figures = chaos.run(mode, tmp_path, postgres_url, jobs=6, clients=3, seed=1)
    assert figures["killed by the poison file"] == chaos.ATTEMPTS
