"""Takes multipart uploads in: streamed to disk, hashed on the way, capped while they come."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import uuid
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from aura.service.problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import Request

MAX_FIELDS_BYTES = 64 * 1024  # of all parts that are not files
MAX_PARTS = 200
MAX_HEADERS_BYTES = 16 * 1024  # of one part
MAX_NAME = 200  # characters of a file name that are kept
FLUSH_BYTES = 2**20  # written and hashed in one go, in a thread
IDLE_SECONDS = 30.0  # without a byte before an upload is given up
FORM = "multipart/form-data"


@dataclass
class ReceivedFile:
    """A file as it came in."""

    path: Path
    name: str
    field: str
    size: int = 0
    sha256: str = ""


@dataclass
class Form:
    """What a multipart body held."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[ReceivedFile] = field(default_factory=list)

    def discard(self) -> None:
        """Delete the files that nobody moved away."""
        for file in self.files:
            file.path.unlink(missing_ok=True)


def safe_name(text: str) -> str:
    """A file name fit to be shown: the last part of a path, printable, not too long.

    >>> safe_name("../../etc/passwd\\n"), safe_name("C:\\\\clips\\\\a.mp4"), safe_name("..")
    ('passwd', 'a.mp4', 'video')
    """
    last = text.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(char for char in last if char.isprintable()).strip()[:MAX_NAME]
    return name if name.strip(".") else "video"


@contextlib.asynccontextmanager
async def received(
    request: Request, folder: Path, *, max_file: int, max_files: int, min_free: int
) -> AsyncIterator[Form]:
    """The form of a request; its files are deleted at the end unless they were moved.

    Args:
        request: with a multipart body that was not read yet.
        folder: where files are written.
        max_file: bytes of one file.
        max_files: how many may come.
        min_free: bytes that must stay free on the disk.

    Raises:
        Problem: 400 malformed, 408 too slow, 413 too large, 415 no form, 507 disk full.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != FORM.encode() or not boundary:
        raise Problem(415, "not_a_form", f"send {FORM} with a file in it")
    stated = request.headers.get("content-length", "")
    size = int(stated) if stated.isascii() and stated.isdigit() else 0
    _check_size(size, max_file, max_files)
    free = shutil.disk_usage(folder).free
    if free - size < min_free:
        raise Problem(507, "disk_full", "there is no room for uploads now; try again later")
    receiver = _Receiver(folder, max_file, max_files)
    form = receiver.form
    try:
        try:
            parser = MultipartParser(boundary, receiver.callbacks())
            total = 0
            async for chunk in _chunks(request):
                total += len(chunk)
                _check_size(total, max_file, max_files)
                parser.write(chunk)
                if receiver.pending >= FLUSH_BYTES:
                    await run_in_threadpool(receiver.flush)
            parser.finalize()
        except MultipartParseError:
            raise Problem(400, "malformed_form", "the form is malformed or cut short") from None
        if not receiver.ended:
            raise Problem(400, "malformed_form", "the form is malformed or cut short")
        await run_in_threadpool(receiver.finish)
        yield form
    finally:
        receiver.close()
        form.discard()


def _check_size(size: int, max_file: int, max_files: int) -> None:
    if size > max_file * max_files + MAX_FIELDS_BYTES + MAX_PARTS * MAX_HEADERS_BYTES:
        raise _too_large(max_file)


def _too_large(max_file: int) -> Problem:
    return Problem(413, "too_large", f"a file may have {max_file} bytes; scale or cut the video")


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body, as long as it keeps coming."""
    stream = request.stream().__aiter__()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(stream), IDLE_SECONDS)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Problem(408, "too_slow", "the upload stopped coming; send it again") from None
        except ClientDisconnect:
            raise Problem(400, "cut_short", "the upload was cut short; send it again") from None
        yield chunk


class _Receiver:
    """Callbacks of the parser; what they gather is written by `flush`."""

    def __init__(self, folder: Path, max_file: int, max_files: int) -> None:
        self.form = Form()
        self.ended = False
        self._folder = folder
        self._max_file = max_file
        self._max_files = max_files
        self._parts = 0
        self._fields_bytes = 0
        self._header = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._headers_bytes = 0
        self._name = ""
        self._text: bytearray | None = None
        self._file: ReceivedFile | None = None
        self._target: IO[bytes] | None = None
        self._digest: Any = None
        # (target, digest, data) in order, and how many bytes wait.
        self._waiting: list[tuple[IO[bytes], Any, bytes]] = []
        self._open: list[tuple[ReceivedFile, IO[bytes], Any]] = []
        self.pending = 0

    def callbacks(self) -> Any:
        """As the parser takes them."""
        return {
            "on_part_begin": self._part_begin,
            "on_header_field": lambda data, start, end: self._take_header(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._take_header(1, data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": lambda data, start, end: self._part_data(data[start:end]),
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def flush(self) -> None:
        """Write and hash what waits."""
        waiting, self._waiting, self.pending = self._waiting, [], 0
        for target, digest, data in waiting:
            target.write(data)
            digest.update(data)

    def finish(self) -> None:
        """Write the rest and note the hashes."""
        self.flush()
        for file, target, digest in self._open:
            target.close()
            file.sha256 = digest.hexdigest()

    def close(self) -> None:
        """Close what is open."""
        for _, target, _ in self._open:
            target.close()

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise Problem(413, "too_many_parts", f"a form may have {MAX_PARTS} parts")
        self._headers, self._headers_bytes = {}, 0
        self._text = self._file = self._target = None

    def _take_header(self, which: int, data: bytes) -> None:
        self._headers_bytes += len(data)
        if self._headers_bytes > MAX_HEADERS_BYTES:
            raise Problem(413, "too_large", "the headers of a part are too large")
        self._header[which].extend(data)

    def _header_end(self) -> None:
        self._headers[bytes(self._header[0]).lower()] = bytes(self._header[1])
        for part in self._header:
            part.clear()

    def _headers_finished(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        name = options.get(b"filename")
        if name is None:
            self._text = bytearray()
            return
        if len(self.form.files) >= self._max_files:
            raise Problem(413, "too_many_files", f"{self._max_files} files may come at once")
        path = self._folder / f"upload-{uuid.uuid4().hex}"
        self._file = ReceivedFile(path, safe_name(name.decode("utf-8", "replace")), self._name)
        self._target, self._digest = path.open("xb"), hashlib.sha256()
        self.form.files.append(self._file)
        self._open.append((self._file, self._target, self._digest))

    def _part_data(self, data: bytes) -> None:
        if self._file is not None and self._target is not None:
            self._file.size += len(data)
            if self._file.size > self._max_file:
                raise _too_large(self._max_file)
            self._waiting.append((self._target, self._digest, bytes(data)))
            self.pending += len(data)
            return
        self._fields_bytes += len(data)
        if self._fields_bytes > MAX_FIELDS_BYTES:
            raise Problem(413, "too_large", "the fields of the form are too large")
        if self._text is not None:
            self._text.extend(data)

    def _part_end(self) -> None:
        if self._text is not None:
            self.form.fields[self._name] = self._text.decode("utf-8", "replace")

    def _end(self) -> None:
        self.ended = True
