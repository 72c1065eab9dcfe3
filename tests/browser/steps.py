"""What the page's tests do again and again, and what they look for everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from servers import wait_until

from aura.service.jobs import Options, Submission
from aura.service.settings import read_settings
from aura.service.store import new_id

axe_playwright = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="pip install 'aura-veracity[dev]'"
)

if TYPE_CHECKING:
    from pathlib import Path

    from deployment import Deployment
    from playwright.sync_api import Locator, Page

    from conftest import Gate

ATTEMPTS = 20  # to have a job before the service's own worker has it
WAIT = 120_000  # milliseconds that an analysis may take on a busy machine
SERIOUS = {"serious", "critical"}
expect.set_options(timeout=30_000)


def axe_finds_nothing_serious(page: Page) -> None:
    found = axe_playwright.Axe().run(page).response["violations"]
    told = [
        (one["id"], one["impact"], node["target"], node.get("failureSummary"))
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]
    assert told == []


def upload(page: Page, gate: Gate, *files: Path) -> None:
    page.goto(gate.url)
    page.set_input_files("#file", list(files))


def until(page: Page, true: str) -> None:
    """Wait for an expression; asked from outside, for pages may not evaluate text."""
    wait_until(lambda: page.evaluate(true), 60, true)


def finished(page: Page) -> Locator:
    """The verdict's headline, once there is one."""
    headline = page.locator("#headline")
    expect(headline).to_be_visible(timeout=WAIT)
    until(page, "document.documentElement.dataset.ready")
    return headline


def position(page: Page) -> float:
    return float(page.locator("#playhead").get_attribute("aria-valuenow") or -1)


def stored(place: Deployment, report: dict[str, Any], name: str) -> str:
    """A finished job with this report, put beside those of the running service."""
    from aura.service.context import Service

    service = Service(read_settings(place.environment))
    try:
        for _ in range(ATTEMPTS):
            job_id = new_id()
            wish = Submission(
                id=job_id, owner="local", options=Options(), filename=name, priority=9
            )
            service.store.submit(wish)
            claimed = service.claims.claim("test", job_id)
            if claimed is not None:
                assert service.claims.complete(claimed, report) is not None
                return job_id
    finally:
        service.close()
    raise AssertionError("the service's own worker was quicker every time")
