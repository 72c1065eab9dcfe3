"""Progress and results of jobs, put into the outbox.

The jobs table is asked, nobody has to tell: whichever worker finished a job, here, in a fleet or on
a rented GPU, the next round sees it. Result and note that it was told are one transaction.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aura.integrations.whatsapp import outbox
from aura.integrations.whatsapp.pictures import find_picture
from aura.integrations.whatsapp.senders import find_sender, owner_of
from aura.integrations.whatsapp.wording import ERRORS, say, verdict
from aura.service.admission import lock_owner
from aura.service.artifacts import PAGE, PRINT, REPORT
from aura.service.database import reading
from aura.service.jobs import FINAL, JobState, utc_now
from aura.service.links import open_signer
from aura.service.printing import can_print
from aura.service.tables import detection_jobs, whatsapp_inbox

if TYPE_CHECKING:
    import threading

    from aura.integrations.whatsapp.bot import Bot
    from aura.service.jobs import Job

ROUND = 200
DAY_SECONDS = 86_400.0
TOLD_DEAD = -1  # in `progress_told`: that it went wrong on our side; a requeued job is told again
LEAST_STEP = 10  # percent between two words about progress

message = whatsapp_inbox.c
jobs = detection_jobs.c


def tell(bot: Bot, stop: threading.Event) -> None:
    """Look at the jobs that somebody waits for."""
    now = utc_now()
    quiet = now - timedelta(seconds=bot.settings.progress_seconds)
    since = sa.func.coalesce(message.progress_told_at, message.received_at)
    moved = sa.and_(
        jobs.state == JobState.RUNNING.value,
        since < quiet,
        jobs.percent >= message.progress_told + LEAST_STEP,
    )
    dead = jobs.state == JobState.DEAD.value
    ended = jobs.state.in_([state.value for state in FINAL])
    news = sa.or_(sa.and_(ended, ~dead), sa.and_(dead, message.progress_told != TOLD_DEAD), moved)
    query = (
        sa.select(whatsapp_inbox)
        .join(detection_jobs, jobs.id == message.job_id)
        .where(message.state == "analysing", news)
        .order_by(message.received_at)
        .limit(ROUND)
    )
    with reading(bot.service.engine) as connection:
        rows = [dict(row._mapping) for row in connection.execute(query)]
    for row in rows:
        if stop.is_set():
            return
        _tell_one(bot, row)


def _tell_one(bot: Bot, row: dict[str, Any]) -> None:
    job = bot.service.store.get(row["job_id"])
    person = find_sender(bot, row["sender"])
    values: dict[str, Any] = {"state": "done"}
    content: dict[str, Any] | None = None
    if job is not None and person is not None:
        language, now = person["language"], utc_now()
        match job.state:
            case JobState.COMPLETED:
                content = _result(bot, job, language)
            case JobState.FAILED:
                content = {"text": _failure(bot, job, language)}
            case JobState.DEAD:
                values = {"progress_told": TOLD_DEAD}
                content = {"text": say(language, "ours")}
            case JobState.RUNNING:
                percent = int(job.percent)
                values = {"progress_told": percent, "progress_told_at": now}
                content = {"text": say(language, "progress", percent=percent)}
    _write(bot, row, values, content)


def _write(
    bot: Bot, row: dict[str, Any], values: dict[str, Any], content: dict[str, Any] | None
) -> None:
    now = utc_now()
    with bot.service.engine.begin() as connection:
        lock_owner(connection, owner_of(row["sender"]))
        # Only from where it was seen: another process may have told it meanwhile.
        changed = connection.execute(
            whatsapp_inbox.update()
            .where(
                message.id == row["id"],
                message.state == row["state"],
                message.progress_told == row["progress_told"],
            )
            .values(**values)
        )
        if changed.rowcount and content is not None:
            answer = {**content, "reply_to": row["id"]}
            outbox.queue(connection, row["sender"], answer, now)


def _result(bot: Bot, job: Job, language: str) -> dict[str, Any]:
    report = bot.service.store.report(job.id) or {}
    text = verdict(language, report, _link(bot, job))
    if job.cached_from and bot.service.store.get(job.cached_from, job.owner) is not None:
        text = f"{say(language, 'repeated')}\n{text}"
    content: dict[str, Any] = {"text": text}
    if find_picture(bot.service, job.id) is not None:
        content["picture"] = job.id
    return content


def _failure(bot: Bot, job: Job, language: str) -> str:
    settings = bot.service.settings
    key = ERRORS.get(job.error_kind or "")
    if key is None:
        return say(language, "failed", message=job.error_message or job.error_kind)
    minutes, mib = settings.max_duration / 60, settings.max_upload // 2**20
    return say(language, key, minutes=minutes, mib=mib)


def _link(bot: Bot, job: Job) -> str | None:
    """A link to the report that works without a key for some days; None: nobody could reach us."""
    settings = bot.service.settings
    if not settings.public_url:
        return None
    name = next(filter(can_print, (PRINT, PAGE)), REPORT)
    path = f"/jobs/{job.id}/artifacts/{name}"
    signed = open_signer(settings).sign(path, bot.settings.link_days * DAY_SECONDS)
    return settings.public_url.rstrip("/") + signed
