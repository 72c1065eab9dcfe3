"""Downloads from a hub of models, or from a mirror of one: resumable, checked, bounded.

The addresses are those that Hugging Face's hub answers: `/api/models/REPO/revision/REVISION` names
the commit, `/REPO/resolve/COMMIT/FILE` holds a file. Its own client is not used, because it throws
a partial download away when it fails.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aura import __version__
from aura.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Told = Callable[[int, int | None], None]  # bytes so far, of how many

HUB = "https://huggingface.co"
MIRROR_VARIABLE = "AURA_WEIGHTS_MIRROR"
COMMIT = re.compile(r"[0-9a-f]{40}")
TIMEOUT = 30.0  # seconds without a byte
TRIES = 5  # in a row that bring nothing
PAUSE = 0.5  # seconds before the next, doubling
BLOCK = 2**20
MAX_ANSWER = 2**20  # bytes of what the hub says about a repository
MAX_FILE = 8 * 2**30  # bytes: no checkpoint here is a fifth as large
PARTIAL_CONTENT, WHOLE, RANGE_REFUSED = 206, 200, 416
NETWORK_ERRORS = (urllib.error.URLError, OSError, http.client.HTTPException)


class NotThere(WeightsError):
    """The hub has no such repository, revision or file."""


def hub_address(mirror: str | None = None) -> str:
    """The hub's address: the one given, the environment's, or the public one.

    Raises:
        UsageError: it is no http or https address.
    """
    chosen = (mirror or os.environ.get(MIRROR_VARIABLE) or HUB).rstrip("/")
    parts = urllib.parse.urlsplit(chosen)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise UsageError(f"--mirror {chosen}: give an address such as http://127.0.0.1:8080")
    return chosen


def find_commit(hub: str, repo: str, revision: str) -> str:
    """The commit that a revision (a branch, a tag, a commit) stands for now.

    Raises:
        WeightsError: the hub can't be reached, or has no such repository or revision.
    """
    url = f"{hub}/api/models/{repo}/revision/{revision}"
    try:
        with _opened(url) as answer:
            found: Any = json.loads(answer.read(MAX_ANSWER))
            commit = str(found["sha"])
    except NETWORK_ERRORS as error:
        raise _unreachable(repo, error) from None
    except (ValueError, KeyError, TypeError):
        commit = ""
    if not COMMIT.fullmatch(commit):
        raise WeightsError(f"{url} does not name a commit; is this a hub of models?")
    return commit


@dataclass(frozen=True)
class Place:
    """Where a repository's files are: the hub's address, OWNER/NAME, and a commit."""

    hub: str
    repo: str
    commit: str


def download(place: Place, name: str, target: Path, tell: Told) -> str:
    """Bring one file; what an earlier try brought is kept and gone on from.

    Args:
        target: where it shall be; beside it `<name>.partial` grows. tell: of progress.

    Returns:
        Its SHA-256. The file is in its place only if the hub's own sums fit.

    Raises:
        WeightsError: unreachable, not there, larger than `MAX_FILE`, cut off, or other bytes than
            the hub states.
    """
    url = f"{place.hub}/{place.repo}/resolve/{place.commit}/{urllib.parse.quote(name)}"
    what = f"{place.repo}/{name}"
    partial = target.with_name(target.name + ".partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    stated, idle = _Stated(), 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            if _more(url, partial, before, stated, tell):
                break
            reason: object = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise _unreachable(what, error) from None
            reason = error
        except NETWORK_ERRORS as error:
            reason = error
        after = partial.stat().st_size if partial.exists() else 0
        idle = 0 if after > before else idle + 1
        if idle >= TRIES:
            raise WeightsError(
                f"{what} broke off after {after} bytes ({reason}); what came is kept: run "
                "the same command again to go on"
            )
        if idle:
            time.sleep(PAUSE * 2 ** (idle - 1))
    with partial.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if stated.sha256 is not None and sha256 != stated.sha256:
        partial.unlink()
        raise WeightsError(
            f"{what} is not what the hub says it is (SHA-256 {sha256[:12]}... instead of "
            f"{stated.sha256[:12]}...); it was deleted: pull again"
        )
    partial.replace(target)
    return sha256


class _Stated:
    """What the hub says about a file: its size, and for large ones its SHA-256."""

    size: int | None = None
    sha256: str | None = None

    def read(self, answer: Any, offset: int) -> None:
        linked = answer.headers.get("X-Linked-ETag", "").strip('"')
        if re.fullmatch(r"[0-9a-f]{64}", linked):
            self.sha256 = linked
        length = answer.headers.get("Content-Length", "")
        if length.isascii() and length.isdigit():
            self.size = offset + int(length)


def _more(url: str, partial: Path, offset: int, stated: _Stated, tell: Told) -> bool:
    """Go on from `offset`; whether the file is whole then."""
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    try:
        answer = _opened(url, headers)
    except urllib.error.HTTPError as error:
        if error.code != RANGE_REFUSED or not offset:
            raise
        total = error.headers.get("Content-Range", "").rpartition("/")[2]
        if total == str(offset):  # nothing was missing
            return True
        partial.unlink()
        return False
    with answer:
        if offset and answer.status != PARTIAL_CONTENT:
            offset = 0  # this server does not go on: from the beginning
        begins = answer.headers.get("Content-Range", "")
        if offset and not begins.startswith(f"bytes {offset}-"):
            raise WeightsError(f"{url} was asked to go on from {offset} and answered {begins!r}")
        stated.read(answer, offset)
        if (stated.size or 0) > MAX_FILE:
            raise WeightsError(f"{url} has {stated.size} bytes; that is no checkpoint of these")
        done = offset
        with partial.open("ab" if offset else "wb") as stream:
            while block := answer.read(BLOCK):
                stream.write(block)
                done += len(block)
                tell(done, stated.size)
                if done > MAX_FILE:
                    raise WeightsError(f"{url} does not end; it was left")
    return stated.size is None or done == stated.size


def _opened(url: str, headers: dict[str, str] | None = None) -> Any:
    request = urllib.request.Request(  # noqa: S310 - http and https only, see `hub_address`
        url,
        headers={
            "User-Agent": f"aura-veracity/{__version__}",
            "Accept-Encoding": "identity",
            **(headers or {}),
        },
    )
    return _opener.open(request, timeout=TIMEOUT)


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """Follows to the hub's stores; never from https to http, and keeps what the hub stated."""

    def redirect_request(  # noqa: PLR0917 - the library's own
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"{req.full_url} leads to an address without TLS")
        found: Any = super().redirect_request(req, fp, code, msg, headers, newurl)
        if found is not None and headers.get("X-Linked-ETag"):
            found.linked = headers["X-Linked-ETag"]
        elif found is not None and hasattr(req, "linked"):
            found.linked = req.linked
        return found

    def http_response(self, request: Any, response: Any) -> Any:
        if hasattr(request, "linked") and not response.headers.get("X-Linked-ETag"):
            response.headers["X-Linked-ETag"] = request.linked
        return response

    https_response = http_response


_opener = urllib.request.build_opener(_SameScheme)


def _unreachable(what: str, error: Exception) -> WeightsError:
    code = getattr(error, "code", None)
    reason = f"status {code}" if code else str(getattr(error, "reason", error))
    kind = NotThere if code == 404 else WeightsError
    return kind(
        f"{what} can't be had from the hub ({reason}); check the network and the name, or give "
        "--mirror"
    )
