"""What people do on the page, in a real Chromium, against a real service with real analyses."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from in_thread import serving
from playwright.sync_api import expect
from steps import WAIT, axe_finds_nothing_serious, finished, position, stored, until, upload

from aura.service.keys import create_key

if TYPE_CHECKING:
    from pathlib import Path

    from deployment import Deployment, Neighbour
    from playwright.sync_api import BrowserContext, Page

    from conftest import Gate, Seen

FIRST_PAGE_BYTES = 300_000
INTERACTIVE_SECONDS = 1.0
LOADED_SLACK = 4.0  # times that, where this machine is busy with other things


def painted(page: Page) -> int:
    """How many pixels over the picture are drawn on."""
    count = page.evaluate(
        """() => {
          const canvas = document.getElementById("drawn");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let count = 0;
          for (let at = 3; at < data.length; at += 4) count += data[at] > 0;
          return count;
        }"""
    )
    assert isinstance(count, int)
    return count


@pytest.mark.data
def test_from_upload_to_verdict_and_back_to_nothing(page: Page, gate: Gate, data_dir: Path) -> None:
    """A face swap without sound: progress, verdict, table, heat, sharing, deleting."""
    upload(page, gate, data_dir / "clips" / "dev" / "clip_024.mp4")
    page.wait_for_url("**/results/*")
    address = page.url
    expect(finished(page)).to_have_text(
        re.compile("resembles manipulated recordings|gives no clear answer")
    )
    assert page.url == address
    axe_finds_nothing_serious(page)

    # Verdict: words, interval, why, limits; what could not be judged says why.
    expect(page.locator(".scale-words")).to_contain_text("95 % interval")
    expect(page.locator(".verdict-side")).to_contain_text("in the verdict")
    expect(page.locator(".verdict-side")).to_contain_text("genuine recordings")
    silent = page.locator(".card.na", has=page.get_by_role("heading", name="Voice", exact=True))
    expect(silent).to_contain_text("no audio track")
    expect(page.locator(".lane.sound")).to_have_count(0)

    # The player plays the kept video, and the table leads to moments.
    until(page, "document.getElementById('video').readyState >= 1")
    first = page.locator("#moments button.seek").first
    wanted = float(first.get_attribute("data-seek") or -1)
    first.press("Enter")
    until(page, f"Math.abs(document.getElementById('video').currentTime - {wanted}) < .1")
    assert abs(position(page) - wanted) < 0.2

    # Face box and heat: each draws, and each can be taken away.
    boxes, heat = page.locator("#boxes"), page.locator("#heat")
    until(page, "document.getElementById('drawn').dataset.drawn === 'boxes'")
    assert painted(page) > 100
    boxes.click()
    expect(boxes).to_have_attribute("aria-pressed", "false")
    assert painted(page) == 0
    heat.click()
    expect(heat).to_have_attribute("aria-pressed", "true")
    until(page, "document.getElementById('drawn').dataset.drawn === 'map'")
    assert painted(page) > 1000
    heat.click()
    assert painted(page) == 0

    # Drawn moments: plain and with the map.
    figure = page.locator("figure").first
    figure.get_by_role("button").click()
    expect(figure.locator(".heat")).to_be_visible()
    expect(figure.locator(".plain")).to_be_hidden()

    # A link for others works without anything else, until it is taken back.
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Make a link").click()
    shared = page.locator("#fresh-link").input_value()
    assert page.request.get(shared).status == 200
    page.get_by_role("button", name="Take back").click()
    expect(page.get_by_text("There are no links.")).to_be_visible()
    assert page.request.get(shared).status == 404
    page.get_by_role("button", name="Close").click()

    # Deleting asks first, by keyboard as well.
    delete = page.get_by_role("button", name="Delete", exact=True)
    delete.press("Enter")
    expect(page.locator("#delete-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#delete-dialog")).to_be_hidden()
    delete.click()
    page.get_by_role("button", name="Delete for good").click()
    page.wait_for_url("**/history")
    expect(page.get_by_text("clip_024.mp4")).to_have_count(0)
    assert page.request.get(address).status == 404


@pytest.mark.data
def test_reload_and_a_lost_connection_in_mid_analysis(
    page: Page, gate: Gate, data_dir: Path
) -> None:
    """A lip-sync fake with sound; the page is reloaded and cut off while it is analysed."""
    upload(page, gate, data_dir / "clips" / "dev" / "clip_036.mp4")
    page.wait_for_url("**/results/*")
    expect(page.locator("#progress h1")).to_have_text("Analysing")
    page.reload()
    expect(page.locator("#progress h1")).to_have_text("Analysing")
    expect(page.locator("#now")).to_contain_text(re.compile(r"\d+ % done"), timeout=WAIT)
    gate.shut()
    expect(page.locator("#connection")).to_contain_text("Connection lost")
    gate.open()
    # Either it is told that all is well again, or the result is there by now.
    back = page.locator("#connection", has_text="Connected again").or_(page.locator("#headline"))
    expect(back).to_be_visible()
    finished(page)

    # Sound: the spectrogram lies under the scores. Flagged spans are on the lanes.
    expect(page.locator(".lane.sound image")).to_have_count(1)
    assert page.locator(".lane g.span").count() >= 1

    # Pointing tells values, pressing and the keyboard go there.
    until(page, "document.getElementById('video').readyState >= 1")
    plot = page.locator(".lane:not(.axis, .empty) .plot").first
    plot.hover(position={"x": 200, "y": 20})
    expect(page.locator("#tip")).to_contain_text("Face: pasted in 0.")
    plot.click(position={"x": 200, "y": 20})
    until(page, "document.getElementById('video').currentTime > 0.5")
    before = position(page)
    expect(page.locator("#playhead")).to_be_focused()
    page.keyboard.press("ArrowRight")
    until(page, f"document.getElementById('video').currentTime > {before + 0.9}")
    page.keyboard.press("Home")
    until(page, "document.getElementById('video').currentTime < 0.1")
    assert "of 0:08" in (page.locator("#playhead").get_attribute("aria-valuetext") or "")

    # The report is there to be taken along, signed.
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    report = json.loads(download.value.path().read_text(encoding="utf-8"))
    assert report["signature"]["algorithm"] == "Ed25519"


def test_three_people_have_lanes_of_their_own(page: Page, gate: Gate, three_people: Path) -> None:
    """On the phone, in the dark, in German: everything fits, and nothing is unreadable."""
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    upload(page, gate, three_people)
    page.wait_for_url("**/results/*")
    finished(page)
    groups = page.locator(".lane-group .lane-title strong")
    expect(groups.filter(has_text="Person")).to_have_count(3)
    until(page, "document.getElementById('drawn').dataset.drawn === 'boxes'")
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    axe_finds_nothing_serious(page)
    page.get_by_role("button", name="Language: DE").click()
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.locator("#cards-title")).to_have_text("Was jeder Detektor fand")
    expect(page.locator(".card.na").first).to_contain_text("Der Mund ist nicht zu sehen")
    for part in (".verdict-side", ".cards", ".lanes"):  # nothing of the report is left over
        expect(page.locator(f"{part} [lang=en]")).to_have_count(0)
    page.get_by_role("button", name="Sprache: EN").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")


def test_a_file_that_is_no_video_and_a_job_that_fails(
    page: Page, gate: Gate, tmp_path: Path, elsewhere: Neighbour
) -> None:
    text = tmp_path / "<img src=x onerror=alert(1)>.mp4"
    text.write_text("no video")
    upload(page, gate, text)
    expect(page.locator("#trouble-words")).to_contain_text("<img src=x onerror=alert(1)>.mp4")
    expect(page.locator("#again")).to_be_hidden()  # the same file would be refused again
    elsewhere.files["/clip.mp4"] = b"<script>alert(1)</script>" * 100
    page.fill("#address", elsewhere.url("/clip.mp4"))
    page.get_by_role("button", name="Analyse the address").click()
    page.wait_for_url("**/results/*")
    title = page.get_by_role("heading", name="This video could not be analysed")
    expect(title).to_be_visible(timeout=WAIT)
    expect(page.locator(".note")).to_contain_text("clip.mp4")
    axe_finds_nothing_serious(page)


def test_an_upload_that_breaks_off_can_be_sent_again(
    page: Page, gate: Gate, three_people: Path
) -> None:
    page.goto(gate.url)
    gate.shut()
    page.set_input_files("#file", three_people)
    expect(page.locator("#trouble-words")).to_contain_text("The connection broke")
    gate.open()
    page.locator("#again").click()
    page.wait_for_url("**/results/*")


def test_the_first_page_is_light_and_needs_no_mouse(page: Page, gate: Gate) -> None:
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(gate.url, wait_until="networkidle")
    print(f"first page: {sum(sizes) / 1000:.0f} kB in {len(sizes)} requests")
    assert len(sizes) >= 8
    assert sum(sizes) < FIRST_PAGE_BYTES
    axe_finds_nothing_serious(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"file", "address"} <= reached


def long_report(seconds: float = 600.0) -> dict[str, Any]:
    """A report of three people over ten minutes, with as much in it as a report may hold."""
    count = 1000  # windows that a report lists of one detector
    step = seconds / count

    def detector(name: str, modality: str, subject: int | None) -> dict[str, Any]:
        windows = [
            {"start": n * step, "end": n * step + 1, "score": (n * 37 % 100) / 100}
            for n in range(count)
        ]
        return {
            "name": name,
            "label": name,
            "modality": modality,
            "subject": subject,
            "status": "ok",
            "reason": None,
            "score": 0.4,
            "share": 0.25,
            "windows": windows,
            "windows_total": 1199,
        }

    people = (1, 2, 3)
    names = {"visual_blend": "visual", "visual_generated": "visual", "sync": "sync"}
    detectors = [detector(name, kind, one) for one in people for name, kind in names.items()]
    segments = [
        {
            "modality": "visual",
            "subject": 1 + n % 3,
            "start": 3.0 * n,
            "end": 3.0 * n + 2,
            "score": 0.8,
            "detectors": ["visual_blend"],
        }
        for n in range(200)
    ]
    boxes = [
        {"subject": 1 + n % 3, "timestamp": n * seconds / 2000, "box": [0.1, 0.1, 0.3, 0.4]}
        for n in range(2000)
    ]
    points = [
        {"frame_id": n, "timestamp": n * 0.3, "subject": 1, "score": 0.5} for n in range(2000)
    ]
    return {
        "profile": "lite",
        "prediction": {
            "overall_class": "fake",
            "reason": None,
            "overall_confidence": 0.8,
            "manipulation_confidence": 0.8,
            "decisive_subject": 1,
            "confidence_interval": {"low": 0.7, "high": 0.9, "level": 0.95, "widened_for": []},
            "anomalous_frames": [],
            "audio_anomalies": [],
            "segments": segments,
            "frame_scores": points,
        },
        "detector_scores": {},
        "subjects": [
            {"id": one, "decisive": one == 1, "score": 0.5, "first_seen": 0.0, "last_seen": 600.0}
            for one in people
        ],
        "detectors": [*detectors, detector("audio", "audio", None)],
        "provenance": {"input": {"name": "n", "path": "p", "sha256": "0" * 64}},
        "metadata": {"model_version": "lite", "models_used": [], "video_duration_sec": seconds},
        "explanation": {"maps": [], "face_boxes": boxes, "face_boxes_total": 9000},
    }


def test_the_result_of_a_long_clip_is_ready_at_once(
    page: Page, gate: Gate, place: Deployment
) -> None:
    long, old = (
        stored(place, long_report(), "ten minutes.mp4"),
        stored(place, long_report(), "b.mp4"),
    )
    address = f"{gate.url}/results/{long}"
    page.goto(address)  # the first one fills templates and caches
    page.goto(address)
    until(page, "document.documentElement.dataset.ready")
    seconds = page.evaluate("performance.getEntriesByName('ready')[0].startTime") / 1000
    size = len(page.request.get(address).body())
    print(f"result of 10 min: interactive after {seconds:.2f} s, {size / 1000:.0f} kB")
    assert seconds < INTERACTIVE_SECONDS * LOADED_SLACK
    assert size < 500_000
    expect(page.locator("#moments tbody tr")).to_have_count(60)
    expect(page.get_by_text("140 more are in the report's JSON.")).to_be_visible()

    page.goto(f"{gate.url}/history")
    axe_finds_nothing_serious(page)
    search = page.get_by_role("searchbox")
    search.fill("ten min")
    expect(page.locator(".entry")).to_have_count(1)
    search.fill("no such thing")
    expect(page.get_by_text("Nothing matches.")).to_be_visible()
    search.fill("")
    compare = page.get_by_role("button", name="Compare two")
    expect(compare).to_be_disabled()
    for name in ("ten minutes.mp4", "b.mp4"):
        page.get_by_role("checkbox", name=f"Compare {name}").check()
    compare.click()
    expect(page.locator(".sides section")).to_have_count(2)
    axe_finds_nothing_serious(page)
    assert old in page.url


def test_signing_in_and_out(
    browser: BrowserContext, page: Page, seen: Seen, tmp_path: Path
) -> None:
    with serving(tmp_path, only_local=False) as api:
        text, _ = create_key(api.service.engine, "ann")
        page.goto(f"{api.url}/history")
        axe_finds_nothing_serious(page)
        page.get_by_label("API key").fill("aura_wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("not valid")
        page.get_by_label("API key").fill(text)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="History")).to_be_visible()
        assert page.evaluate("document.cookie") == ""
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("API key")).to_be_visible()
        assert seen.elsewhere == []
