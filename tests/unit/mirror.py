"""A hub of models on this machine, over real HTTP, that can be made to misbehave."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

from stand_in import Answering, answering

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Mirror:
    """Files by "OWNER/NAME/FILE"; what was asked; how it misbehaves.

    `cut`: answers that end after so many bytes, one each. `ranges`: whether it goes on.
    `states`: SHA-256 that it states instead of the true one.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)
    ranges: bool = True
    states: str | None = None
    commit: str = COMMIT
    address: str = ""


@contextmanager
def serving(mirror: Mirror) -> Iterator[Mirror]:
    """Run it on a free port."""

    class Answers(Answering, BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            mirror.asked.append((self.path, self.headers.get("Range")))
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", self.path):
                known = any(name.startswith(f"{found[1]}/") for name in mirror.files)
                self.answer(200 if known else 404, json.dumps({"sha": mirror.commit}).encode())
                return
            found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([0-9a-f]{40})/(.+)", self.path)
            data = mirror.files.get(f"{found[1]}/{found[3]}") if found else None
            if found and data is not None:  # as the hub: to its store, saying what is to come
                place = f"/store/{found[1]}/{found[3]}"
                stated = mirror.states or hashlib.sha256(data).hexdigest()
                self.answer(302, Location=place, X_Linked_ETag=f'"{stated}"')
                return
            if self.path.startswith("/store/"):
                self._store(mirror.files[self.path.removeprefix("/store/")])
                return
            self.answer(404, b"")

        def _store(self, data: bytes) -> None:
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            begin = int(asked[1]) if asked and mirror.ranges else 0
            if begin > len(data) or (asked and begin == len(data)):
                self.answer(416, Content_Range=f"bytes */{len(data)}")
                return
            part = data[begin:]
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            if mirror.cut:
                self.wfile.write(part[: mirror.cut.pop(0)])
                self.close_connection = True
                self.connection.close()
                return
            self.wfile.write(part)

    with answering(Answers) as port:
        mirror.address = f"http://127.0.0.1:{port}"
        yield mirror
