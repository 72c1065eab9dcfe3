"""Shared by all tests: where the training data is, and the folder of `media_factory`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests can import media_factory


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The data folder: AURA_DATA, or shared/data beside the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("AURA_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}: set AURA_DATA to run this test")
    return folder
