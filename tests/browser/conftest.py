"""A real service and a real browser for the page's tests: one of each for the whole run.

The browser is the system's Chromium (Playwright's Python package brings none of its own here).
Between the two stands a gate that can be shut, as a cable can be pulled.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "service"))  # for `deployment`, `in_thread`
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest.importorskip("jinja2", reason="needs the extra: pip install 'aura-veracity[web]'")
pytest.importorskip("playwright", reason="needs the extra: pip install 'aura-veracity[dev]'")

from deployment import Deployment, Neighbour, neighbour
from playwright.sync_api import sync_playwright

import media_factory as make

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from playwright.sync_api import BrowserContext, Page

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HERE = {"127.0.0.1"}
FPS = 25


class Gate:
    """Hands bytes on between the browser and the service, until it is shut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._shut = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def shut(self) -> None:
        """Break every connection, and every new one at once."""
        self._shut = True
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        self._shut = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._shut:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            for one, other in ((client, server), (server, client)):
                self._open.add(one)
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.discard(one)
        one.close()

    def close(self) -> None:
        self._listener.close()
        self.shut()


@dataclass
class Seen:
    """What the browser did that no page of ours may make it do."""

    elsewhere: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def elsewhere() -> Iterator[Neighbour]:
    """A web server that videos are fetched from."""
    with neighbour() as server:
        yield server


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, elsewhere: Neighbour) -> Iterator[Deployment]:
    """`aura serve` with its worker, in processes of its own; it may fetch from `elsewhere`."""
    settings = {
        "AURA_SOFT_DEADLINE": "600",
        "AURA_HARD_DEADLINE": "900",
        "AURA_ALLOWED_HOSTS": elsewhere.host,
    }
    deployment = Deployment(tmp_path_factory.mktemp("web") / "service", settings)
    try:
        deployment.serve()
        yield deployment
    finally:
        deployment.stop()


@pytest.fixture(scope="session")
def gate(place: Deployment) -> Iterator[Gate]:
    made = Gate(place.port)
    yield made
    made.close()


@pytest.fixture(scope="session")
def seen() -> Seen:
    return Seen()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory, seen: Seen) -> Iterator[BrowserContext]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed; on Debian: apt install chromium")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"),
            executable_path=program,
            args=ARGUMENTS,
            headless=True,
            viewport={"width": 1280, "height": 900},
            locale="en-GB",
            accept_downloads=True,
        )
        context.set_default_timeout(60_000)

        def request(one: Any) -> None:
            target = urlsplit(one.url)
            if target.scheme not in {"blob", "data"} and target.hostname not in HERE:
                seen.elsewhere.append(one.url)

        context.on("request", request)
        yield context
        context.close()


@pytest.fixture
def page(browser: BrowserContext, gate: Gate, seen: Seen) -> Iterator[Page]:
    """A fresh tab; afterwards nothing was asked of anybody else, and no script failed."""
    gate.open()
    seen.trouble.clear()
    browser.clear_cookies()  # language and colours that another test chose
    tab = browser.new_page()
    tab.on("pageerror", lambda error: seen.trouble.append(str(error)))

    def said(message: Any) -> None:
        if "Content Security Policy" in message.text:
            seen.trouble.append(message.text)

    tab.on("console", said)
    yield tab
    tab.close()
    assert seen.elsewhere == []
    assert seen.trouble == []


@pytest.fixture(scope="session")
def three_people(tmp_path_factory: pytest.TempPathFactory, portrait: NDArray[np.uint8]) -> Path:
    """Three faces side by side for 3 s, filmed by a hand that sways, with a tone as sound."""
    import cv2
    import numpy as np

    face = cv2.resize(portrait[10:300, 80:370], (300, 300), interpolation=cv2.INTER_AREA)
    scene = make.texture(1280, 480)
    for number, inset in enumerate((face, (face[:, ::-1] * 0.7).astype(np.uint8), face[:, ::-1])):
        left = 60 + 420 * number
        scene[90:390, left : left + 300] = inset
    frames = (
        np.ascontiguousarray(scene[4 + n % 5 : 444 + n % 5, 6 + n % 7 : 1266 + n % 7])
        for n in range(3 * FPS)
    )
    sound = make.Sound(make.tone(3.0))
    target = tmp_path_factory.mktemp("three") / "three people.mp4"
    return make.write_clip(target, frames, fps=FPS, audio=sound)
