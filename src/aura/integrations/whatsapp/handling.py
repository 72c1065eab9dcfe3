"""What is done about a message: media fetched and submitted as a job, a word understood."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aura.errors import InputError
from aura.integrations.whatsapp import inbox, outbox
from aura.integrations.whatsapp.senders import WINDOW, find_sender, owner_of, set_sender
from aura.integrations.whatsapp.wording import ERASE, ERRORS, LANGUAGES, say
from aura.service.access import User, limits_of
from aura.service.admission import LimitReached, lock_owner
from aura.service.due import claim_due
from aura.service.guarded import AddressRefused, FetchFailed, TooLarge
from aura.service.jobs import utc_now
from aura.service.keys import SCOPES
from aura.service.logs import get_logger
from aura.service.problems import Problem
from aura.service.schemas import AnalyzeUrl
from aura.service.submitting import NOT_A_VIDEO_URL, submit_file
from aura.service.tables import whatsapp_inbox
from aura.service.uploads import ReceivedFile, safe_name

if TYPE_CHECKING:
    import threading

    from aura.integrations.whatsapp.bot import Bot
    from aura.service.jobs import Job

log = get_logger("whatsapp")

ROUND = 20
# Seconds that a message is one thread's: fetching, looking into it and storing take less.
CLAIM_SECONDS = 600
# Seconds after a failed attempt; the last is repeated until nobody could be answered any more.
BACK_OFF = (5, 20, 60, 300, 900)
DAY = timedelta(days=1)
MINUTE, MIB = 60.0, 2**20


class _TryLater(Exception):
    """Somebody else's server is away; the message waits."""


def handle_due(bot: Bot, stop: threading.Event) -> int:
    """Handle what is due; returns how many messages were looked at."""
    for count in range(ROUND):
        if stop.is_set():
            return count
        row = claim_due(bot.service.engine, whatsapp_inbox, "new", seconds=CLAIM_SECONDS)
        if row is None:
            return count
        try:
            _handle(bot, row)
        except _TryLater as error:
            _later(bot, row, str(error))
        except Exception as error:
            log.exception("unforeseen", message=row["id"])
            _later(bot, row, type(error).__name__)
    return ROUND


def _handle(bot: Bot, row: dict[str, Any]) -> None:
    person = find_sender(bot, row["sender"])
    if person is None:
        return _done(bot, row)
    language, kind, content = person["language"], row["kind"], row["content"]
    if person["is_group"]:
        return _once_a_day(bot, row, person, say(language, "group"))
    if kind == "text":
        return _text(bot, row, language)
    if kind == "document":
        kind = content["mime_type"].split("/", 1)[0]
    if kind not in {"video", "image", "audio"}:
        return _done(bot, row, say(language, "only_media"))
    return _media(bot, row, person, kind)


def _text(bot: Bot, row: dict[str, Any], language: str) -> None:
    word = row["content"]["text"].strip().strip("*.!").casefold()
    if word in LANGUAGES:
        chosen = LANGUAGES[word]
        with bot.service.engine.begin() as connection:
            set_sender(connection, row["sender"], language=chosen)
        return _done(bot, row, say(chosen, "language"))
    if word in ERASE:
        count = inbox.forget(bot, row["sender"])
        return _done(bot, row, say(language, "erased", count=count))
    return _done(bot, row, say(language, "help", **_allowed(bot)))


def _media(bot: Bot, row: dict[str, Any], person: dict[str, Any], kind: str) -> None:
    language = person["language"]
    try:
        job = _submit(bot, row, kind)
    except LimitReached:
        text = say(language, "limit", daily=bot.settings.daily)
        return _once_a_day(bot, row, person, text)
    except (InputError, Problem) as error:
        known = error.problem_kind if isinstance(error, Problem) else error.kind
        key = ERRORS.get(known)
        values = _allowed(bot) if key else {"message": str(error)}
        return _done(bot, row, say(language, key or "failed", **values))
    with bot.service.engine.begin() as connection:
        inbox.set_message(connection, row["id"], state="analysing", job_id=job.id)
    bot.service.ring_for(job)
    return None


def _submit(bot: Bot, row: dict[str, Any], kind: str) -> Job:
    """Fetch the media and queue them; what was fetched is deleted unless the job has it.

    Raises:
        _TryLater: Meta's API or our store is away. InputError, Problem, LimitReached: for the
            sender.
    """
    service, settings = bot.service, bot.settings
    limits = limits_of(service.settings, settings.daily or None)
    user = User(owner_of(row["sender"]), None, frozenset(SCOPES), limits)
    service.store.check(user.name, limits)
    content = row["content"]
    most = service.settings.max_image if kind == "image" else service.settings.max_upload
    path = service.scratch.path / f"whatsapp-{uuid.uuid4().hex}"
    name = safe_name(content["filename"]) if content["filename"] else f"WhatsApp {kind}"
    try:
        size, sha256 = bot.api.fetch(content["media_id"], path, most)
        file = ReceivedFile(path, name, "file", size, sha256)
        wish = AnalyzeUrl.model_validate(
            {"video_url": NOT_A_VIDEO_URL, "profile": settings.profile}
        )
        # The key makes it harmless to come here twice: the second time gives the first one's job.
        key = f"whatsapp:{row['id']}"[:255]
        return submit_file(service, user, file, wish, idempotency_key=key).job
    except (TooLarge, LimitReached, Problem):
        raise
    except (AddressRefused, FetchFailed) as error:
        raise _TryLater(str(error)) from None
    except InputError:
        raise
    except Exception as error:
        raise _TryLater(f"{type(error).__name__}: {error}"[:300]) from error
    finally:
        path.unlink(missing_ok=True)


def _allowed(bot: Bot) -> dict[str, Any]:
    settings = bot.service.settings
    return {"minutes": settings.max_duration / MINUTE, "mib": settings.max_upload // MIB}


def _done(bot: Bot, row: dict[str, Any], text: str | None = None) -> None:
    """Answer and be done with it, both or neither."""
    now = utc_now()
    with bot.service.engine.begin() as connection:
        lock_owner(connection, owner_of(row["sender"]))
        if text is not None:
            outbox.queue(connection, row["sender"], {"text": text, "reply_to": row["id"]}, now)
        inbox.set_message(connection, row["id"], state="done")


def _once_a_day(bot: Bot, row: dict[str, Any], person: dict[str, Any], text: str) -> None:
    """Answer, unless this was said within a day: who keeps sending is not answered each time."""
    told, now = person["limit_told_at"], utc_now()
    if told is not None and now - told < DAY:
        return _done(bot, row)
    with bot.service.engine.begin() as connection:
        set_sender(connection, row["sender"], limit_told_at=now)
    return _done(bot, row, text)


def _later(bot: Bot, row: dict[str, Any], why: str) -> None:
    """Try again, as long as the sender could be answered."""
    now = utc_now()
    if now - row["received_at"] > WINDOW:
        person = find_sender(bot, row["sender"])
        language = person["language"] if person else ""
        return _done(bot, row, say(language, "not_fetched"))
    pause = BACK_OFF[min(row["attempts"], len(BACK_OFF)) - 1]
    log.warning("later", message=row["id"], attempt=row["attempts"], seconds=pause, why=why)
    with bot.service.engine.begin() as connection:
        later = now + timedelta(seconds=pause)
        inbox.set_message(connection, row["id"], next_at=later, last_error=why)
    return None
