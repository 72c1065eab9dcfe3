"""The bucket of a Supabase project, by signed addresses.

The secret key asks for an address that is good for one file and a while; the file itself goes there
and back without the key. Every exchange goes through the guarded client: capped in bytes and time.
Source: supabase.com/docs/reference/self-hosting-storage (REST API of Supabase Storage).
"""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from aura.errors import InputNotFound, UsageError
from aura.integrations.supabase.settings import PREFIX, SupabaseSettings, read_supabase_settings
from aura.service.guarded import AddressRefused, FetchFailed, GuardedClient
from aura.service.storage import (
    GONE,
    READ_BYTES,
    Storage,
    StorageAway,
    Stored,
    checked,
    scratch_file,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from aura.service.guarded import Answer
    from aura.service.settings import Settings

SCHEME = "supabase"
ADDRESS_SECONDS = 600  # that a signed address is good for
MAX_ANSWER = 4 * 2**20  # bytes of an answer that is no file
MAX_FILE = 2**40  # what was stored by us is not capped again
PAGE = 1000  # entries of one list
NOT_FOUND = frozenset({"404", 404, "NoSuchKey", "not_found"})


class SupabaseStorage(Storage):
    """Files in a private bucket."""

    def __init__(
        self, bucket: str, prefix: str, settings: SupabaseSettings, allowed: Collection[str]
    ) -> None:
        self._bucket = quote(bucket, safe="")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._base = f"{settings.url}/storage/v1"
        self._seconds = settings.seconds
        self._key = settings.service_key
        self._client = GuardedClient(allowed)

    def put(self, key: str, source: Path) -> None:
        """Upload it to a signed address."""
        path = f"/object/upload/sign/{self._bucket}/{self._name(key)}"
        address = self._ask("POST", path, {}, {"x-upsert": "true"})["url"]
        size = source.stat().st_size
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        with source.open("rb") as file:
            parts = iter(lambda: file.read(READ_BYTES), b"")
            with self._exchange("PUT", self._signed(address), headers, parts) as answer:
                self._check(answer)
        source.unlink()

    @contextlib.contextmanager
    def local(self, key: str, scratch: Path) -> Iterator[Path]:
        """Download it for the time of the block."""
        with scratch_file(key, scratch) as path:
            with path.open("wb") as file:
                for part in self._get(key, {}):
                    file.write(part)
            yield path

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """Ask for that part of the file only."""
        if stop <= start:
            return iter(())
        parts = self._get(key, {"Range": f"bytes={start}-{stop - 1}"})
        first = next(parts, b"")  # so that what is not there is told before this returns
        return _rest(first, parts)

    def delete(self, key: str) -> None:
        """Delete the file."""
        with contextlib.suppress(InputNotFound):
            self._ask("DELETE", f"/object/{self._bucket}", {"prefixes": [self._prefix + key]})

    def list(self, prefix: str) -> Iterator[Stored]:
        """Walk the folder; folders have no id."""
        folders = [checked(prefix)]
        while folders:
            folder, offset = folders.pop(), 0
            while True:
                wanted = {"prefix": self._prefix + folder, "limit": PAGE, "offset": offset}
                found = self._ask("POST", f"/object/list/{self._bucket}", wanted)
                for item in found:
                    name = f"{folder}/{item['name']}"
                    if item.get("id") is None:
                        folders.append(name)
                    else:
                        yield Stored(name, datetime.fromisoformat(item["updated_at"]))
                offset += len(found)
                if len(found) < PAGE:
                    break

    def check(self) -> None:
        """Ask for the bucket."""
        try:
            self._ask("GET", f"/bucket/{self._bucket}")
        except (StorageAway, InputNotFound) as error:
            raise OSError(f"bucket {self._bucket} can't be used ({error})") from None

    def _name(self, key: str) -> str:
        return quote(self._prefix + checked(key))

    def _signed(self, address: str) -> str:
        """A signed address in full; it is relative to the API and may not lead elsewhere."""
        if not address.startswith("/object/"):
            raise StorageAway("the store gave an address that is not its own")
        return self._base + address

    def _get(self, key: str, headers: Mapping[str, str]) -> Iterator[bytes]:
        path = f"/object/sign/{self._bucket}/{self._name(key)}"
        address = self._ask("POST", path, {"expiresIn": ADDRESS_SECONDS})["signedURL"]
        with self._exchange("GET", self._signed(address), headers) as answer:
            self._check(answer)
            yield from answer.body

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Ask the API with the key; its answer as JSON."""
        known = {"Authorization": f"Bearer {self._key}", "apikey": self._key}
        content = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            known |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
        sent = {**known, **(headers or {})}
        with self._exchange(method, self._base + path, sent, content, MAX_ANSWER) as answer:
            self._check(answer)
            text = b"".join(answer.body)
        try:
            return json.loads(text)
        except ValueError:
            raise StorageAway("the store's answer is no JSON") from None

    @contextlib.contextmanager
    def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | Iterator[bytes] = b"",
        max_bytes: int = MAX_FILE,
    ) -> Iterator[Answer]:
        try:
            with self._client.ask(
                method,
                url,
                headers=headers,
                content=content,
                seconds=self._seconds,
                max_bytes=max_bytes,
                redirects=0,  # they would take the key along
            ) as answer:
                yield answer
        except (AddressRefused, FetchFailed) as error:
            raise StorageAway(f"the store can't be reached ({error})") from None

    @staticmethod
    def _check(answer: Answer) -> None:
        """Refuse an answer that is none; Supabase puts a 404 into the body of a 400."""
        if answer.status // 100 == 2:
            return
        text = b"".join(answer.body)[:2000]
        told: Any = {}
        with contextlib.suppress(ValueError):
            told = json.loads(text)
        codes = {told.get("statusCode"), told.get("error")} if isinstance(told, dict) else set()
        if answer.status == 404 or codes & NOT_FOUND:
            raise InputNotFound(GONE)
        raise StorageAway(f"the store answered with status {answer.status}")


def _rest(first: bytes, parts: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from parts


def open_supabase_storage(settings: Settings) -> SupabaseStorage | None:
    """The store that AURA_STORAGE_URL names; None: it is of another kind.

    Raises:
        UsageError: no bucket is named, or the project's address or key is not set.
    """
    parts = urlsplit(settings.storage_url)
    if parts.scheme != SCHEME or not parts.netloc:
        return None
    project = read_supabase_settings()
    needed = ("url", "service_key")
    missing = [PREFIX + name.upper() for name in needed if not getattr(project, name)]
    if missing:
        raise UsageError(f"AURA_STORAGE_URL={SCHEME}://... needs {', '.join(missing)} as well")
    return SupabaseStorage(parts.netloc, parts.path, project, settings.allowed_hosts)
