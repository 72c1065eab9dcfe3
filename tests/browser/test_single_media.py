"""A picture alone and a sound alone through the page; a link that has run out."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from made import finished_report
from playwright.sync_api import expect
from steps import axe_finds_nothing_serious, finished, stored, until, upload

import media_factory as make
from aura import sample
from aura.errors import MissingExtra
from aura.service import sharing
from aura.service.context import Service
from aura.service.jobs import utc_now
from aura.service.settings import read_settings
from aura.service.tables import shared_links

if TYPE_CHECKING:
    from pathlib import Path

    from deployment import Deployment
    from numpy.typing import NDArray
    from playwright.sync_api import Locator, Page

    from conftest import Gate


def card(page: Page, name: str) -> Locator:
    """What one detector found."""
    return page.locator(".card", has=page.get_by_role("heading", name=name, exact=True))


def test_a_picture_alone_is_judged_by_its_face_and_never_called_anything(
    page: Page, gate: Gate, portrait: NDArray[np.uint8], tmp_path: Path
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(cv2.imencode(".jpg", np.ascontiguousarray(portrait[:, :, ::-1]))[1].tobytes())
    upload(page, gate, photo)
    page.wait_for_url("**/results/*")
    expect(finished(page)).to_have_text("One picture is too little for a verdict")
    expect(page.locator(".scale-words")).to_contain_text("Score 0.")

    for name in ("Face: pasted in", "Face: generated"):
        expect(card(page, name).locator(".card-score")).to_have_text(re.compile(r"^0\.\d\d$"))
    for name in ("Lips and voice", "Voice"):
        expect(card(page, name)).to_contain_text("A picture has neither motion nor sound.")
        expect(card(page, name).locator(".card-score")).to_have_text("n/a")

    # What has no length has neither lanes nor moments.
    expect(page.locator("#tracks, #moments-title")).to_have_count(0)
    # The picture stands where a video would, with the face's box, and nothing can be played.
    until(page, "document.getElementById('still').naturalWidth === 512")
    until(page, "document.getElementById('drawn').dataset.drawn === 'boxes'")
    page.locator("#heat").click()
    until(page, "document.getElementById('drawn').dataset.drawn === 'map boxes'")
    expect(page.locator("video")).to_have_count(0)
    axe_finds_nothing_serious(page)


@pytest.fixture(scope="session")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of the sample's synthetic voice, as a recorder writes it."""
    try:
        heard, rate = sample._speech("Nobody has seen me speak, and still you can hear my voice.")
    except MissingExtra as error:
        pytest.skip(str(error))
    samples = np.stack([heard, heard])[:, : 4 * rate]
    target = tmp_path_factory.mktemp("voice") / "voice.m4a"
    return make.write_sound(target, make.Sound(samples, rate))


def test_a_sound_alone_is_judged_by_its_voice(page: Page, gate: Gate, voice: Path) -> None:
    upload(page, gate, voice)
    page.wait_for_url("**/results/*")
    finished(page)
    expect(card(page, "Voice").locator(".card-score")).not_to_have_text("n/a")
    for name in ("Face: pasted in", "Face: generated", "Lips and voice"):
        expect(card(page, name)).to_contain_text("The file has only sound.")
        expect(card(page, name).locator(".card-score")).to_have_text("n/a")
    expect(page.locator(".verdict-side")).to_contain_text("only sound")

    # It can be heard, and its spectrogram lies under the voice's scores.
    until(page, "document.getElementById('video').readyState >= 1")
    assert page.evaluate("document.getElementById('video').videoWidth") == 0
    expect(page.locator(".lane.sound image")).to_have_count(1)
    expect(page.locator("#boxes")).to_have_count(0)
    axe_finds_nothing_serious(page)


def test_a_link_that_has_run_out_says_so_and_shows_nothing(
    page: Page, gate: Gate, place: Deployment
) -> None:
    job = stored(place, finished_report(), "secret interview.mp4")
    service = Service(read_settings(place.environment))
    try:
        token, link = sharing.share(service.engine, job, "local", 1)
        address = f"{gate.url}/shared/{token}"
        page.goto(address)
        expect(page.locator("#headline")).to_be_visible()
        expect(page.locator(".file-name")).to_have_text("secret interview.mp4")
        with service.engine.begin() as connection:
            ended = shared_links.update().where(shared_links.c.id == link.id)
            connection.execute(ended.values(expires_at=utc_now() - timedelta(seconds=1)))
    finally:
        service.close()
    answer = page.reload()
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("heading", level=1)).to_have_text("This link does not work")
    expect(page.locator("main")).to_contain_text("It has expired")
    for kept in ("secret interview", job, "0.30", "lite-1"):
        assert kept not in page.content()
    for part in ("overlay", "files/report.json", "files/media", "files/report.pdf"):
        assert page.request.get(f"{address}/{part}").status == 404, part
    axe_finds_nothing_serious(page)


def test_times_are_those_of_the_reader_with_utc_behind_them(
    page: Page, gate: Gate, place: Deployment
) -> None:
    job = stored(place, finished_report(), "clock.mp4")
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kolkata"})  # UTC+5:30
    page.goto(f"{gate.url}/results/{job}")
    shown = page.locator(".result-head time")
    utc = datetime.fromisoformat(shown.get_attribute("datetime") or "")
    assert abs(utc - utc_now()) < timedelta(minutes=5)
    expect(shown).to_have_attribute("title", f"{utc:%Y-%m-%d %H:%M:%S} UTC")
    own = utc + timedelta(hours=5, minutes=30)
    expect(shown).to_have_text(f"{own.day} {own:%b %Y, %H:%M}")
    # What htmx puts in later is told in the same way.
    page.goto(f"{gate.url}/history")
    page.get_by_role("searchbox").fill("clock")
    expect(page.locator(".entry")).to_have_count(1)
    expect(page.locator(".entry time")).to_have_text(f"{own.day} {own:%b %Y, %H:%M}")
