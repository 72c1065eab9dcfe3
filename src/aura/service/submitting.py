"""From a request to a job: options checked, file probed, stored, queued."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from aura.errors import WeightsError
from aura.profiles import profile_names
from aura.service.fetching import guarded_client
from aura.service.guarded import check_url
from aura.service.jobs import Options, Submission
from aura.service.logs import get_logger
from aura.service.probing import probe_checked
from aura.service.problems import Problem
from aura.service.reports import analysis_version
from aura.service.schemas import AnalyzeUrl
from aura.service.storage import StorageAway
from aura.service.store import new_id
from aura.service.uploads import safe_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aura.service.access import User
    from aura.service.context import Service
    from aura.service.jobs import Job
    from aura.service.uploads import Form, ReceivedFile

log = get_logger("api")

PROBES_AT_ONCE = 4  # children that look into files; each may use `probe_memory`
FILE_FIELDS = ("file", "video", "image")
NOT_A_VIDEO_URL = "https://not.set"  # stands where a form carries a file instead
SWITCHES = ("explain", "keep_media")
TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"", "0", "false", "no", "off"})

_probes = threading.BoundedSemaphore(PROBES_AT_ONCE)


@dataclass(frozen=True)
class Taken:
    """A job, and whether this request made it; whoever took it rings for it."""

    job: Job
    new: bool


def wish_of_form(form: Form) -> AnalyzeUrl:
    """The options in a form's fields.

    Raises:
        Problem: 422 for fields that do not fit.
    """
    values: dict[str, Any] = {key: text for key, text in form.fields.items() if text != ""}
    for name in SWITCHES:
        text = form.fields.get(name, "").lower()
        if text not in TRUE | FALSE:
            raise Problem(422, "invalid", f"{name}: give true or false")
        values[name] = text in TRUE
    values.setdefault("video_url", NOT_A_VIDEO_URL)
    try:
        return AnalyzeUrl.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Problem(422, "invalid", f"{where}: {first['msg']}") from None


def check_wish(service: Service, wish: AnalyzeUrl) -> None:
    """Refuse what could only fail later.

    Raises:
        Problem: 422 for a profile that is none. InputError: an address that is not asked.
    """
    names = profile_names()
    if wish.profile not in names:
        raise Problem(422, "invalid", f"profile: choose one of {', '.join(names)}")
    try:
        analysis_version(wish.profile)
    except WeightsError:
        raise Problem(
            422, "profile_unavailable", f"profile: the networks of {wish.profile} are not here"
        ) from None
    client = guarded_client(service)
    if wish.callback_url is not None:
        client.check(wish.callback_url)
    if wish.video_url != NOT_A_VIDEO_URL:
        client.check(wish.video_url)


def submit_file(
    service: Service,
    user: User,
    file: ReceivedFile,
    wish: AnalyzeUrl,
    *,
    only: str | None = None,
    idempotency_key: str | None = None,
    batch_id: str | None = None,
) -> Taken:
    """Queue an uploaded file: a video, a picture or sound, or `only` one of them.

    Raises:
        InputError: nothing that can be judged. LimitReached. IdempotencyConflict. Problem.
        StorageAway.
    """
    if file.size == 0:
        raise Problem(422, "empty", f"{file.name} is empty; was the upload cut short?")
    check_wish(service, wish)
    with _probes:
        found = probe_checked(file.path, file.name, service.settings)
    if only is not None and found.kind != only:
        raise Problem(422, "not_an_image", f"{file.name} is no picture; give a JPEG or PNG")
    options = Options(wish.profile, wish.faces, wish.fps, wish.explain)
    job_id = new_id()
    media_key = f"media/{job_id}"
    submission = Submission(
        id=job_id,
        owner=user.name,
        kind=found.kind,
        options=options,
        filename=file.name,
        media_key=media_key,
        media_sha256=file.sha256,
        size_bytes=file.size,
        duration=found.duration,
        cache_key=service.cache_key(file.sha256, options, user.name),
        priority=wish.priority,
        keep_media=wish.keep_media,
        callback_url=wish.callback_url,
        batch_id=batch_id,
        idempotency_key=idempotency_key,
        request_hash=_request_hash(file.sha256, only or "video", wish),
    )
    # Stored before it is queued: a row whose bytes are missing would be worse than bytes without
    # a row, which the housekeeping finds.
    service.storage.put(media_key, file.path)
    taken = None
    try:
        taken = _submit(service, user, submission)
    finally:
        if taken is None or not taken.new:
            with suppress(StorageAway):  # the housekeeping finds it
                service.storage.delete(media_key)
    if taken.new and taken.job.finished and not taken.job.keep_media:
        with suppress(StorageAway):
            service.drop_media(taken.job)
    return taken


def submit_url(
    service: Service,
    user: User,
    wish: AnalyzeUrl,
    *,
    idempotency_key: str | None = None,
    batch_id: str | None = None,
) -> Taken:
    """Queue a video that a worker will fetch.

    Raises:
        InputError: the address is not asked. LimitReached. IdempotencyConflict. Problem.
    """
    check_wish(service, wish)
    _, host, _ = check_url(wish.video_url)
    path = wish.video_url.split("?", 1)[0].split("#", 1)[0].split("//", 1)[-1]
    name = safe_name(path) if "/" in path.rstrip("/") else host
    submission = Submission(
        id=new_id(),
        owner=user.name,
        options=Options(wish.profile, wish.faces, wish.fps, wish.explain),
        filename=name,
        source_url=wish.video_url,
        priority=wish.priority,
        keep_media=wish.keep_media,
        callback_url=wish.callback_url,
        batch_id=batch_id,
        idempotency_key=idempotency_key,
        request_hash=_request_hash("", "video", wish),
    )
    return _submit(service, user, submission)


def _submit(service: Service, user: User, submission: Submission) -> Taken:
    job, new = service.store.submit(submission, user.limits, will_ring=True)
    log.info("submitted", job_id=job.id, user=user.name, key=user.key_id, new=new)
    return Taken(job, new)


def file_of(form: Form) -> ReceivedFile | None:
    """The one file of a form, None if there is none.

    Raises:
        Problem: it is in a field of another name.
    """
    for file in form.files:
        if file.field not in FILE_FIELDS:
            raise Problem(422, "invalid", f"send the file as one of {', '.join(FILE_FIELDS)}")
        return file
    return None


def checked_key(text: str | None) -> str | None:
    """An Idempotency-Key that can be kept.

    Raises:
        Problem: it is empty, too long, or not printable.
    """
    if text is not None and not (0 < len(text) <= 255 and text.isascii() and text.isprintable()):
        raise Problem(422, "invalid", "Idempotency-Key: 1 to 255 printable ASCII characters")
    return text


def _request_hash(sha256: str, kind: str, wish: AnalyzeUrl) -> str:
    parts: Mapping[str, Any] = {"sha256": sha256, "kind": kind, **wish.model_dump()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
