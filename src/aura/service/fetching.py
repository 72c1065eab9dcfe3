"""Fetches a job's `video_url` through the guarded client."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from aura.service.guarded import FetchFailed, GuardedClient, TooLarge
from aura.service.probing import probe_here

if TYPE_CHECKING:
    from pathlib import Path

    from aura.service.context import Service
    from aura.service.hold import Hold
    from aura.service.jobs import Job

OK = 200


def guarded_client(service: Service) -> GuardedClient:
    """The client as the settings want it."""
    return GuardedClient(service.settings.allowed_hosts)


def fetch_video(service: Service, job: Job, target: Path, hold: Hold) -> dict[str, Any]:
    """Write what `job.source_url` leads to into `target`, and look whether it is a video.

    Returns:
        What the table keeps of it.

    Raises:
        InputError: refused, unreachable, too large, too slow, no video.
    """
    settings, digest, size = service.settings, hashlib.sha256(), 0
    hold.hook("fetch", 0.0, 1.0)
    with (
        guarded_client(service).ask(
            "GET",
            str(job.source_url),
            seconds=settings.fetch_seconds,
            max_bytes=settings.max_upload,
        ) as answer,
        target.open("wb") as file,
    ):
        if answer.status != OK:
            raise FetchFailed(f"video_url answered with status {answer.status}; check the address")
        stated = answer.headers.get("content-length", "")
        total = int(stated) if stated.isascii() and stated.isdigit() else None
        if total is not None and total > settings.max_upload:
            raise TooLarge(f"the video is larger than {settings.max_upload} bytes")
        for chunk in answer.body:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            hold.hook("fetch", size, total)
    sha256 = digest.hexdigest()
    found = probe_here(target, job.filename, settings)
    return {
        "media_sha256": sha256,
        "size_bytes": size,
        "duration": found.duration,
        "kind": found.kind,
        "cache_key": service.cache_key(sha256, job.options, job.owner),
    }
