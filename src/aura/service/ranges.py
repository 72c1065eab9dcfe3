"""A stored file as an answer, whole or the part that is asked for (RFC 9110, section 14).

One range a request is answered; of several, as the standard allows, the whole file is sent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fastapi.responses import StreamingResponse

from aura.service.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import Request, Response

RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def wanted_part(text: str | None, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) that a `Range` header asks for; None: the whole.

    >>> wanted_part("bytes=0-99", 1000), wanted_part("bytes=-10", 1000), wanted_part("lines=1", 9)
    ((0, 100), (990, 1000), None)

    Raises:
        Problem: 416, nothing of it lies within the file.
    """
    found = RANGE.fullmatch(text.strip()) if text else None
    if found is None or found.group(1, 2) == ("", ""):
        return None
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if first and last and int(last) < start:
        return None  # no range at all, to be ignored
    if start >= size:
        outside = {"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"}
        raise Problem(416, "range_outside", f"the file has {size} bytes", outside)
    return start, stop


def part_response(
    request: Request,
    size: int,
    read: Callable[[int, int], Iterator[bytes]],
    headers: dict[str, str],
) -> Response:
    """The file, or with 206 a part of it.

    Args:
        request: its `Range`, and `If-Range` against the `ETag` among `headers`.
        size: of the file in bytes. read: gives the bytes from start to stop.
        headers: of the answer; `Content-Type` and `ETag` must be among them.
    """
    condition = request.headers.get("if-range")
    asked = request.headers.get("range") if condition in {None, headers["ETag"]} else None
    part = wanted_part(asked, size)
    start, stop = part or (0, size)
    headers = {**headers, "Accept-Ranges": "bytes", "Content-Length": str(stop - start)}
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return StreamingResponse(read(start, stop), 200 if part is None else 206, headers)
