"""Addresses that users name: nothing but the public internet, and not for ever."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from deployment import neighbour
from in_thread import serving

from aura.errors import InputError
from aura.service.guarded import (
    AddressRefused,
    FetchFailed,
    GuardedClient,
    TooLarge,
    TooSlow,
    is_public,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REFUSED = [
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://localhost/",
    "http://localhost./",
    "http://0.0.0.0/",
    "http://0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fec0::1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:c0a8:101::1]/",
    "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/",
    "http://224.0.0.1/",
    "http://[ff02::1]/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://192.0.2.1/",
    "http://198.18.0.1/",
    "file:///etc/passwd",
    "data:text/plain,hello",
    "ftp://example.org/a",
    "gopher://example.org/",
    "unix:///run/docker.sock",
    "http://user:secret@example.org/",
    "http://127.0.0.1\\@example.org/",
    "http://exa mple.org/",
    "http://example.org\n.evil/",
    "http:///path",
    "//example.org/",
    "example.org",
    "http://[::1",
    "http://example.org:99999/",
    "",
]


@pytest.mark.parametrize("url", REFUSED)
def test_what_is_not_public_is_refused(url: str) -> None:
    client = GuardedClient()
    with pytest.raises(InputError):
        client.check(url)
    with pytest.raises(InputError), client.ask("GET", url, seconds=2, max_bytes=10) as answer:
        list(answer.body)


def test_the_api_refuses_them_for_both_addresses(tmp_path: Path) -> None:
    with serving(tmp_path) as api, api.client() as client:
        for url in REFUSED[::4]:  # the client itself was asked for all of them
            asked = client.post("/analyze-video", json={"video_url": url})
            assert asked.status_code == 422, url
            told = client.post(
                "/analyze-video",
                files={"file": ("a.mp4", b"x")},
                data={"callback_url": url or " "},
            )
            assert told.status_code == 422, url
            assert told.headers["content-type"] == "application/problem+json"
        assert client.get("/jobs").json()["jobs"] == []


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


def test_a_host_with_one_private_address_is_refused_whatever_the_others_are() -> None:
    client = GuardedClient(resolver=lambda *_: ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(AddressRefused):
        client.check("http://mixed.example/")


def test_a_resolver_that_changes_its_mind_gets_nowhere() -> None:
    """DNS rebinding: public when it is checked, private when it is connected to."""
    answers = iter([["93.184.216.34"], ["127.0.0.1"], ["127.0.0.1"]])
    client = GuardedClient(resolver=lambda *_: next(answers))
    client.check("http://rebind.example/")
    with (
        pytest.raises(AddressRefused),
        client.ask("GET", "http://rebind.example/", seconds=2, max_bytes=10),
    ):
        pytest.fail("it was asked")


def test_the_connection_goes_to_the_address_that_was_checked_and_names_the_host() -> None:
    with neighbour() as web:
        web.files["/a"] = b"found"
        asked: list[str] = []

        def resolver(host: str, _port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"]

        name = f"pinned.invalid:{web.port}"  # a name that no resolver of the system knows
        client = GuardedClient([name], resolver)
        with client.ask("GET", f"http://{name}/a", seconds=5, max_bytes=99) as answer:
            assert b"".join(answer.body) == b"found"
        assert asked == ["pinned.invalid"]


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{other}/secret",
        "http://localhost:{other}/secret",
        "http://[::ffff:127.0.0.1]:{other}/secret",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "data:text/plain,hello",
        "//127.0.0.1:{other}/secret",
    ],
)
def test_a_redirect_to_a_private_address_is_refused(target: str) -> None:
    with neighbour() as web, neighbour() as private:
        private.files["/secret"] = b"secret"
        web.redirects["/go"] = target.format(other=private.port)
        client = GuardedClient([web.host])
        with (
            pytest.raises(AddressRefused),
            client.ask("GET", web.url("/go"), seconds=5, max_bytes=99),
        ):
            pytest.fail("it was followed")


def test_redirects_end_somewhere() -> None:
    with neighbour() as web:
        web.redirects["/a"] = "/a"
        with (
            pytest.raises(FetchFailed, match="too often"),
            GuardedClient([web.host]).ask("GET", web.url("/a"), seconds=5, max_bytes=99),
        ):
            pytest.fail("it ended")


@contextlib.contextmanager
def raw_server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(4096)
                    talk(connection)

    threading.Thread(target=run, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def drip(first: bytes, unit: bytes) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        connection.sendall(first)
        for _ in range(500):
            connection.sendall(unit)
            time.sleep(0.02)

    return talk


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "talk",
    [drip(HEAD, b"x"), drip(HEAD + b"\r\n", b"y"), drip(b"", b""), drip(HEAD, b"A: b\r\n")],
    ids=["header", "body", "silence", "headers"],
)
def test_a_slow_drip_is_cut_off_in_time(talk: Callable[[socket.socket], None]) -> None:
    with raw_server(talk) as host:
        began = time.monotonic()
        with (
            pytest.raises(TooSlow),
            GuardedClient([host]).ask(
                "GET", f"http://{host}/", seconds=0.5, max_bytes=10**6
            ) as answer,
        ):
            list(answer.body)
        assert time.monotonic() - began < 1.5


def test_an_endless_body_is_cut_off() -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"\r\n")
        for _ in range(10_000):
            connection.sendall(b"z" * 65536)

    got: list[int] = []

    def read(host: str) -> None:
        client = GuardedClient([host])
        with client.ask("GET", f"http://{host}/", seconds=10, max_bytes=10**6) as answer:
            got.extend(len(chunk) for chunk in answer.body)

    with raw_server(talk) as host:
        with pytest.raises(TooLarge):
            read(host)
        assert 0 < sum(got) <= 10**6
