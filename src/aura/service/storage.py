"""Where media lie: a folder, or a bucket of an S3-compatible store."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from aura.errors import AuraError, InputNotFound, UsageError
from aura.service.extensions import storage_elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aura.service.settings import Settings

# No dot at the beginning of a part, so that no key can climb out of its folder.
KEY = re.compile(r"[a-z0-9_-][a-z0-9._-]*(/[a-z0-9_-][a-z0-9._-]*)*")
READ_BYTES = 256 * 1024  # at a time, on its way to a client
GONE = "the uploaded media are no longer stored; submit them again"
TRIES = 2  # of one exchange with a store that does not answer
MISSING = frozenset({"404", "NoSuchKey"})  # what an S3-compatible store calls it


class StorageAway(AuraError):
    """The store does not answer, or says that it can't now: not the file's fault, and it passes."""

    kind = "storage_away"


@contextlib.contextmanager
def scratch_file(key: str, scratch: Path) -> Iterator[Path]:
    """Where a copy of what is stored may lie until the block ends; two of one key don't meet."""
    path = scratch / f"{checked(key).replace('/', '-')}-{uuid.uuid4().hex[:8]}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Stored:
    """One thing that is stored."""

    key: str
    changed_at: datetime


class Storage(ABC):
    """Keeps files under keys such as `media/0a1b`.

    Whatever it is asked may raise StorageAway.
    """

    @abstractmethod
    def put(self, key: str, source: Path) -> None:
        """Take a file in, whole or not at all; `source` is gone afterwards."""

    @abstractmethod
    def local(self, key: str, scratch: Path) -> contextlib.AbstractContextManager[Path]:
        """The file on this machine for the time of a `with` block.

        Raises:
            InputNotFound: nothing is stored under this key.
        """

    @abstractmethod
    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from `start` up to `stop` as they come; it is opened before this returns.

        Raises:
            InputNotFound: nothing is stored under this key.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete a file; no error if there is none."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[Stored]:
        """Everything whose key begins with `prefix/`."""

    @abstractmethod
    def check(self) -> None:
        """Raise an OSError if nothing can be stored now."""


class FolderStorage(Storage):
    """Files in a folder, readable by this user only."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, key: str, source: Path) -> None:
        """Move the file in."""
        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(OSError):
            os.utime(source)  # its age counts from now on: an upload can have taken long
        try:
            source.replace(target)
        except OSError:  # from another file system: copy beside it, then rename
            part = target.with_name(target.name + ".part")
            shutil.copyfile(source, part)
            part.replace(target)
            source.unlink()

    @contextlib.contextmanager
    def local(self, key: str, scratch: Path) -> Iterator[Path]:
        """The stored file itself."""
        del scratch
        path = self._path(key)
        if not path.is_file():
            raise InputNotFound(GONE)
        yield path

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """From the file, wherever it is erased meanwhile."""
        try:
            file = self._path(key).open("rb")
        except FileNotFoundError:
            raise InputNotFound(GONE) from None
        return _parts(file, start, stop)

    def delete(self, key: str) -> None:
        """Unlink it."""
        self._path(key).unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[Stored]:
        """Walk the folder."""
        folder = self._path(prefix)
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            with contextlib.suppress(OSError):
                if path.is_file():
                    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                    yield Stored(path.relative_to(self._root).as_posix(), changed)

    def check(self) -> None:
        """See that the folder can be written."""
        if not os.access(self._root, os.W_OK):
            raise OSError(f"{self._root} can't be written")

    def _path(self, key: str) -> Path:
        return self._root / checked(key)


class S3Storage(Storage):
    """Objects in a bucket; credentials come from where boto3 looks for them."""

    def __init__(self, bucket: str, prefix: str, endpoint: str = "", seconds: float = 20.0) -> None:
        import boto3  # noqa: PLC0415 - slow to import and of no use to a single machine
        from boto3.s3.transfer import TransferConfig  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        # Tried twice at most: who waits for it here holds a job, or a client's connection.
        config = Config(
            connect_timeout=min(5.0, seconds),
            read_timeout=seconds,
            retries={"total_max_attempts": TRIES, "mode": "standard"},
        )
        self._client: Any = boto3.client("s3", endpoint_url=endpoint or None, config=config)
        self._transfer = TransferConfig(num_download_attempts=TRIES)

    def put(self, key: str, source: Path) -> None:
        """Upload it."""
        with _reached():
            self._client.upload_file(
                str(source), self._bucket, self._prefix + checked(key), Config=self._transfer
            )
        source.unlink()

    @contextlib.contextmanager
    def local(self, key: str, scratch: Path) -> Iterator[Path]:
        """Download it for the time of the block."""
        with scratch_file(key, scratch) as path:
            with _reached():
                self._client.download_file(
                    self._bucket, self._prefix + key, str(path), Config=self._transfer
                )
            yield path

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """Ask for that part of the object only."""
        if stop <= start:
            return iter(())
        wanted = {"Bucket": self._bucket, "Key": self._prefix + checked(key)}
        with _reached():
            answer = self._client.get_object(**wanted, Range=f"bytes={start}-{stop - 1}")
        chunks: Iterator[bytes] = answer["Body"].iter_chunks(READ_BYTES)
        return chunks

    def delete(self, key: str) -> None:
        """Delete the object."""
        with _reached():
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + checked(key))

    def list(self, prefix: str) -> Iterator[Stored]:
        """Page through the bucket."""
        pages = self._client.get_paginator("list_objects_v2")
        wanted = f"{self._prefix}{checked(prefix)}/"
        with _reached():
            for page in pages.paginate(Bucket=self._bucket, Prefix=wanted):
                for item in page.get("Contents", ()):
                    yield Stored(item["Key"].removeprefix(self._prefix), item["LastModified"])

    def check(self) -> None:
        """Ask for the bucket."""
        try:
            with _reached():
                self._client.head_bucket(Bucket=self._bucket)
        except (StorageAway, InputNotFound) as error:
            raise OSError(f"bucket {self._bucket} can't be used ({error})") from None


@contextlib.contextmanager
def _reached() -> Iterator[None]:
    """The client library's exceptions as ours."""
    from boto3.exceptions import Boto3Error  # noqa: PLC0415 - as above
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in MISSING:
            raise InputNotFound(GONE) from None
        raise StorageAway(f"the store refused ({error})") from None
    except (BotoCoreError, Boto3Error) as error:
        raise StorageAway(f"the store can't be reached ({error})") from None


def _parts(file: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < stop and (part := file.read(min(READ_BYTES, stop - start))):
            start += len(part)
            yield part


def checked(key: str) -> str:
    """The key, if it is one; anything that could name a file elsewhere is a bug of ours."""
    if not KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no storage key")
    return key


def open_storage(settings: Settings) -> Storage:
    """The storage that the settings name.

    Raises:
        UsageError: not a URL of a known kind.
    """
    if not settings.storage_url:
        return FolderStorage(settings.data_dir / "storage")
    parts = urlsplit(settings.storage_url)
    if parts.scheme == "s3" and parts.netloc:
        return S3Storage(parts.netloc, parts.path, settings.s3_endpoint, settings.storage_seconds)
    elsewhere = storage_elsewhere(settings)
    if elsewhere is None:
        raise UsageError(
            "AURA_STORAGE_URL: give s3://bucket/prefix, supabase://bucket/prefix, or nothing for a "
            "folder"
        )
    return elsewhere
