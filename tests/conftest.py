"""Shared by all tests: where the training data is, the folder of `media_factory`, no skips in CI.

With AURA_NO_SKIPS=1 a skipped test or module is a failed one, with the reason of the skip: a run
that has everything installed must not pass by leaving tests out.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from aura import registry, signing
from aura.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))  # so that tests can import media_factory

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

# A shell that starts us in the background makes us ignore Ctrl-C, and so would every program that
# the tests start; whoever tests Ctrl-C needs it to arrive.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

NO_SKIPS = os.environ.get("AURA_NO_SKIPS", "") not in {"", "0"}


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The data folder: AURA_DATA, or shared/data beside the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("AURA_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}: set AURA_DATA to run this test")
    return folder


@pytest.fixture(autouse=True)
def keys_of_tests(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports that tests write are signed with a key of theirs, never with the user's own."""
    theirs, real = tmp_path_factory.getbasetemp() / "keys", signing.keys_dir
    chosen = registry.HOME_VARIABLE  # a test that sets it has a folder of its own
    monkeypatch.setattr(signing, "keys_dir", lambda: real() if os.environ.get(chosen) else theirs)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one where skips are not allowed."""
    report = yield
    return _no_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that is skipped as a whole."""
    report = yield
    return _no_skip(report)


def _no_skip(report: Report) -> Report:
    expected = hasattr(report, "wasxfail")  # known to fail, and run
    if NO_SKIPS and report.skipped and not expected:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason} (AURA_NO_SKIPS is set: no test may be skipped)"
    return report


@pytest.fixture(scope="session")
def portrait() -> NDArray[np.uint8]:
    """The public-domain portrait of the `sample` extra, (512, 512, 3) uint8 RGB: one face."""
    from aura import sample

    try:
        return sample.portrait()
    except MissingExtra as error:
        pytest.skip(str(error))
