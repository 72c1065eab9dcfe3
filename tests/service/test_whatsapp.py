"""The bot: real posts against the real HTTP server; only Meta's API is stood in for."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import cv2
import pytest
import sqlalchemy as sa
from in_thread import serving
from made import finished_report
from meta import (
    ANN,
    JUAN,
    PATH,
    PHONE,
    TOKEN,
    UTE,
    VERIFY,
    deliver,
    media,
    message,
    meta_api,
    post,
    signature,
    status,
    text,
    text_of,
)

from aura.service.artifacts import described
from aura.service.guarded import AddressRefused
from aura.service.jobs import Error, JobState, utc_now
from aura.service.tables import detection_jobs, whatsapp_inbox, whatsapp_outbox, whatsapp_senders
from media_factory import Sound, moving_texture, texture, tone, write_clip, write_sound

pytest.importorskip("pywa", reason="needs the extra: pip install 'aura-veracity[whatsapp]'")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx2 as httpx
    from in_thread import Api
    from meta import Meta

NEVER = threading.Event()


@dataclass
class Bot:
    """The API with the bot, whose rounds the tests call, so that nothing happens by itself."""

    api: Api
    meta: Meta
    client: httpx.Client

    def round(self, name: str) -> None:
        (extension,) = self.api.extensions
        extension.rounds[f"whatsapp-{name}"](NEVER)

    def rounds(self) -> None:
        for name in ("inbox", "notices", "outbox"):
            self.round(name)

    def get(self, *messages: dict[str, Any]) -> None:
        """Meta posts these, and what comes of it is done."""
        assert deliver(self.client, post(*messages)).status_code == 200
        self.round("outbox")
        self.rounds()

    def count(self, table: sa.Table, **values: Any) -> int:
        query = sa.select(sa.func.count()).select_from(table).filter_by(**values)
        with self.api.service.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def change(self, table: sa.Table, **values: Any) -> None:
        with self.api.service.engine.begin() as connection:
            connection.execute(table.update().values(**values))

    def make_due(self) -> None:
        for table in (whatsapp_inbox, whatsapp_outbox):
            self.change(table, next_at=utc_now() - timedelta(seconds=1))

    def jobs(self) -> list[Any]:
        with self.api.service.engine.connect() as connection:
            return list(connection.execute(sa.select(detection_jobs)))

    def finish(self, verdict: str = "fake", **changes: Any) -> str:
        """A worker takes the next job and finds this."""
        claims = self.api.service.claims
        job = claims.claim("w")
        assert job is not None
        claims.complete(job, made_report(verdict, **changes))
        return job.id


def made_report(verdict: str, **changes: Any) -> dict[str, Any]:
    """The parts of a report that the bot reads."""
    report = finished_report(verdict)
    report["prediction"] |= {
        "manipulation_confidence": 0.83,
        "confidence_interval": {"low": 0.7, "high": 0.9, "level": 0.9, "widened_for": []},
        "segments": [
            {"modality": "visual", "start": 3.0, "end": 5.5, "score": 0.9},
            {"modality": "visual", "start": 70.0, "end": 71.0, "score": 0.8},
        ],
        "anomalous_frames": [],
    }
    report["subjects"] = [{"id": 0}]
    report["detectors"] = [
        {"modality": "visual", "status": "ok"},
        {"modality": "audio", "status": "not_applicable"},
    ]
    return {**report, **changes}


@pytest.fixture(scope="module")
def meta() -> Iterator[Meta]:
    with meta_api() as server:
        yield server


@pytest.fixture(scope="module")
def api(meta: Meta, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    from aura.integrations.whatsapp.bot import Bot as RealBot

    with pytest.MonkeyPatch.context() as patch:
        # What is done at once in the background would come in between; `test_flows` has it.
        patch.setattr(RealBot, "work", lambda _: None)
        for name, value in {**meta.environment(), "AURA_WHATSAPP_DAILY": "2"}.items():
            patch.setenv(name, value)
        folder = tmp_path_factory.mktemp("whatsapp")
        options = {"max_duration": 3.0, "max_upload": 200_000, "public_url": "https://aura.test/"}
        with serving(folder, allowed_hosts=(meta.host,), **options) as running:
            yield running


@pytest.fixture
def bot(api: Api, meta: Meta) -> Iterator[Bot]:
    with api.service.engine.begin() as connection:
        for table in (whatsapp_inbox, whatsapp_outbox, whatsapp_senders, detection_jobs):
            connection.execute(table.delete())
    meta.__init__(port=meta.port)  # as if it had just begun
    with api.client() as client:
        yield Bot(api, meta, client)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, moving_texture(25, 160, 120)).read_bytes()


def test_meta_is_told_that_this_is_the_address_and_nobody_else_is(bot: Bot) -> None:
    asked = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": VERIFY}
    answer = bot.client.get(PATH, params=asked)
    assert (answer.status_code, answer.text) == (200, "1158201444")
    assert answer.headers["content-type"].startswith("text/plain")
    for wrong in (
        {"hub.verify_token": "x"},
        {"hub.mode": "unsubscribe"},
        {"hub.verify_token": "ö"},
    ):
        assert bot.client.get(PATH, params={**asked, **wrong}).status_code == 403
    assert bot.client.get(PATH).status_code == 403


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 403),
        ({"X-Hub-Signature-256": ""}, 403),
        ({"X-Hub-Signature-256": "sha256="}, 403),
        ({"X-Hub-Signature-256": "sha256=" + "0" * 64}, 403),
        ({"X-Hub-Signature-256": signature(b"{}", "another secret")}, 403),
        ({"X-Hub-Signature-256": signature(b"{ }")}, 403),
        ({"X-Hub-Signature-256": b"sha256=\xff\xfe"}, 403),
        ({"X-Hub-Signature": "sha1=" + "0" * 40}, 403),
        ({"X-Hub-Signature-256": signature(b"{}")}, 200),
    ],
)
def test_only_what_meta_signed_is_read(bot: Bot, headers: dict[str, Any], expected: int) -> None:
    assert bot.client.post(PATH, content=b"{}", headers=headers).status_code == expected


def test_posts_that_are_no_posts_are_refused_and_odd_ones_do_nothing(bot: Bot) -> None:
    def send(body: bytes) -> int:
        headers = {"X-Hub-Signature-256": signature(body)}
        return bot.client.post(PATH, content=body, headers=headers).status_code

    assert send(b"no json") == 400
    assert send(b"[" * 100_000) == 400
    assert send(b" " * (3 * 2**20 + 1)) == 413
    hello = text("hello")
    for odd in (
        [],
        {"entry": None},
        {"entry": [{"changes": [None, {"field": "messages", "value": []}]}]},
        post({**hello, "id": "x" * 256}),
        post({**hello, "timestamp": "soon"}),
        post({**hello, "timestamp": "9" * 40}),
        post({**hello, "from": 5}),
        post({**hello}, metadata={"phone_number_id": "another"}),
        post(statuses=[None, {"id": 5}]),
    ):
        assert send(json.dumps(odd).encode()) == 200
    assert bot.count(whatsapp_inbox) == 0


def test_a_video_is_answered_at_once_with_progress_and_with_the_verdict_in_words(
    bot: Bot, clip: bytes
) -> None:
    video = media("video", bot.meta.offer(clip))
    bot.get(video)
    assert bot.meta.texts == ["Received. You get the answer here as soon as the analysis is done."]
    (job,) = bot.jobs()
    assert (job.state, job.kind, job.size_bytes) == ("queued", "video", len(clip))
    assert ANN not in str(job)
    assert bot.meta.tokens == {f"Bearer {TOKEN}"}
    assert not list(bot.api.service.scratch.path.glob("whatsapp-*"))

    claims = bot.api.service.claims
    running = claims.claim("w")
    assert running is not None
    claims.progress(running, "analyse", 55.0)
    bot.rounds()
    assert len(bot.meta.sent) == 1  # too early for another word
    bot.change(whatsapp_inbox, received_at=utc_now() - timedelta(minutes=1))
    bot.rounds()
    bot.rounds()
    assert bot.meta.texts[1:] == ["Still at it: 55 %."]

    claims.complete(running, made_report("fake"))
    bot.rounds()
    bot.rounds()
    lines = bot.meta.texts[2].splitlines()
    assert len(bot.meta.sent) == 3
    assert lines[:-1] == [
        "*This resembles manipulated recordings.*",
        "Score 0.83 of 1 (1 = like manipulated recordings), 90% interval 0.70 to 0.90.",
        "Most conspicuous: 0:03 to 0:05.",
        "Judged: face.",
        "Not judged: voice.",
        "A score is an indication and no proof; the limits stand in the report.",
    ]
    assert {one["context"]["message_id"] for one in bot.meta.sent} == {video["id"]}
    link = lines[-1].removeprefix("Report: https://aura.test")
    assert link.startswith(f"/jobs/{job.id}/artifacts/report.")
    report = bot.client.get(link.replace("report.pdf", "report.json"))
    assert report.status_code == 403  # a link is for one file
    assert bot.count(whatsapp_inbox, state="done") == 1


def test_the_picture_of_the_worst_moment_goes_with_the_verdict(bot: Bot, clip: bytes) -> None:
    service = bot.api.service
    for content in (b"\xff\xd8\xff a picture", None):
        bot.get(media("video", bot.meta.offer(clip + (content or b"\0"))))
        job = service.claims.claim("w")
        assert job is not None
        key = f"artifacts/{job.id}-1/thumbnail.jpg"
        if content is not None:
            (service.scratch.path / "in").write_bytes(content)
            service.storage.put(key, service.scratch.path / "in")
        drawn = (described("thumbnail.jpg", 15, key),)
        service.claims.complete(job, made_report("fake"), drawn=drawn)
        bot.rounds()
    sent = [one for one in bot.meta.sent if not text_of(one).startswith("Received")]
    assert [one["type"] for one in sent] == ["image", "text"]  # the second was deleted meanwhile
    assert all(text_of(one).startswith("*This resembles") for one in sent)
    (uploaded,) = bot.meta.uploaded
    assert b"image/jpeg" in uploaded
    assert b"\xff\xd8\xff a pictur" in uploaded


def test_a_post_that_comes_again_and_again_changes_nothing(bot: Bot, clip: bytes) -> None:
    videos = [media("video", bot.meta.offer(clip + bytes([n]))) for n in range(2)]
    for _ in range(3):
        bot.get(*videos)
    assert len(bot.jobs()) == len(bot.meta.sent) == 2  # both of one post


def test_a_process_that_dies_after_submitting_makes_no_second_job(bot: Bot, clip: bytes) -> None:
    bot.get(media("video", bot.meta.offer(clip)))
    bot.change(whatsapp_inbox, state="new", job_id=None)  # as if it had not come to that
    bot.make_due()
    bot.rounds()
    assert len(bot.jobs()) == 1
    assert bot.count(whatsapp_inbox, state="analysing") == 1


def test_the_same_media_are_analysed_once_and_a_sender_is_told_that_they_sent_them(
    bot: Bot, clip: bytes
) -> None:
    for sender in (ANN, JUAN, ANN):
        bot.get(media("video", bot.meta.offer(clip), sender))
        if len(bot.jobs()) == 1:
            bot.finish()
            bot.rounds()
    assert [job.state for job in bot.jobs()] == ["completed"] * 3
    assert "sent this before" not in bot.meta.to(ANN)[1]
    assert bot.meta.to(ANN)[3].startswith("You sent this before; the answer is the same.\n*This")
    assert bot.meta.to(JUAN)[1].startswith("*Se parece a grabaciones manipuladas.*\nValor 0.83")


def broken(bot: Bot, _folder: Path) -> dict[str, Any]:
    return media("video", bot.meta.offer(b"no video" * 100))


def too_long(bot: Bot, folder: Path) -> dict[str, Any]:
    path = write_clip(folder / "long.mp4", moving_texture(40, 32, 32), fps=10)
    return media("video", bot.meta.offer(path.read_bytes()))


def too_large(bot: Bot, _folder: Path) -> dict[str, Any]:
    return media("document", bot.meta.offer(bytes(200_001)), mime_type="video/mp4")


@pytest.mark.parametrize(
    ("send", "expected"),
    [
        (broken, "The file can't be read."),
        (too_long, "The clip is too long: 0.05 minutes are allowed."),
        (too_large, "The file is too large: 0 MB are allowed."),
        (lambda *_: message("sticker", id="1", mime_type="image/webp"), "That I can't judge."),
        (lambda *_: message("location", latitude=0, longitude=0), "That I can't judge."),
        (lambda *_: message("unsupported"), "That I can't judge."),
        (lambda *_: media("document", "1", mime_type="application/pdf"), "That I can't judge."),
        (lambda *_: text("hello"), "Send me a video in which somebody talks"),
        (lambda *_: message("reaction", message_id="wamid.1", emoji="+"), None),
    ],
)
def test_what_cannot_be_judged_is_said_and_why(
    bot: Bot, tmp_path: Path, send: Any, expected: str | None
) -> None:
    bot.get(send(bot, tmp_path))
    texts = [one for one in bot.meta.texts if not one.startswith("Received")]
    assert len(texts) == (expected is not None)
    assert all(one.startswith(str(expected)) for one in texts)
    assert bot.jobs() == []
    assert bot.count(whatsapp_inbox, state="done") == 1
    assert not list(bot.api.service.scratch.path.glob("whatsapp-*"))


def test_a_clip_without_a_face_and_a_picture_are_put_into_words(bot: Bot, clip: bytes) -> None:
    bot.get(media("video", bot.meta.offer(clip)))
    nothing = {"manipulation_confidence": None, "confidence_interval": None, "segments": []}
    prediction = {**made_report("uncertain")["prediction"], **nothing}
    unseen = [{"modality": "visual", "status": "not_applicable"}]
    bot.finish("uncertain", prediction=prediction, subjects=[], detectors=unseen)
    picture = cv2.imencode(".png", texture(64, 64))[1].tobytes()
    bot.get(media("image", bot.meta.offer(picture)))
    bot.finish("uncertain", provenance={"input": {"sha256": "0" * 64, "kind": "image"}})
    bot.rounds()
    _, _, without, picture = bot.meta.texts
    assert without.splitlines()[:2] == ["*No clear answer.*", "No face could be judged in it."]
    assert picture.startswith("*A single picture is too little for a verdict.* Faces: 1; highest")


def test_a_voice_note_is_analysed_and_nobody_asks_for_its_face(bot: Bot, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "note.m4a", Sound(tone(1.0)))
    bot.get(media("audio", bot.meta.offer(path.read_bytes()), voice=True))
    heard = [{"modality": "audio", "status": "ok"}]
    about = {"input": {"sha256": "0" * 64, "kind": "audio"}}
    bot.finish("fake", provenance=about, subjects=[], detectors=heard)
    bot.rounds()
    received, verdict = bot.meta.texts
    assert received.startswith("Received")
    assert verdict.startswith("*This resembles manipulated recordings.*")
    assert "No face" not in verdict


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Error("no_video", "x"), "The file has no pictures."),
        (Error("deadline", "it took too long"), "The analysis did not succeed: it took too long."),
    ],
)
def test_a_failed_analysis_is_told(bot: Bot, clip: bytes, error: Error, expected: str) -> None:
    bot.get(media("video", bot.meta.offer(clip)))
    job = bot.api.service.claims.claim("w")
    assert job is not None
    bot.api.service.claims.fail(job, error)
    bot.rounds()
    assert bot.meta.texts[1].startswith(expected)


def test_a_dead_job_is_told_once_and_its_verdict_after_a_requeue(bot: Bot, clip: bytes) -> None:
    bot.get(media("video", bot.meta.offer(clip)))
    job = bot.api.service.claims.claim("w")
    assert job is not None
    bot.api.service.claims.bury(job, Error("internal", "x"))
    bot.rounds()
    bot.rounds()
    assert bot.meta.texts[1:] == [
        "Something went wrong on our side, not with your video. We look at it."
    ]
    assert bot.api.service.store.requeue(job.id) is not None
    bot.finish("real")
    bot.rounds()
    assert bot.meta.texts[2].startswith("*No sign of manipulation was found.* That does not prove")


def test_limits_hold_for_each_sender_and_are_said_once_a_day(bot: Bot, clip: bytes) -> None:
    for n in range(4):
        bot.get(media("video", bot.meta.offer(clip + n.to_bytes(2, "big"))))
    bot.get(media("video", bot.meta.offer(clip), UTE))
    assert len(bot.jobs()) == 3
    said = [one for one in bot.meta.to(ANN) if not one.startswith("Received")]
    assert said == ["That was your 2. analysis of today; more from 00:00 UTC on."]


def test_a_group_is_answered_once_and_nothing_from_it_is_fetched(bot: Bot, clip: bytes) -> None:
    video = media("video", bot.meta.offer(clip))
    for n in range(2):
        bot.get({**video, "id": f"wamid.{n}", "group_id": "Y2FwaV9ncm91cDoxNzAQ"})
    assert [one["recipient_type"] for one in bot.meta.sent] == ["group"]
    assert bot.meta.texts == ["I answer in private chats only. Please send me the video there."]
    assert bot.jobs() == []


def test_people_are_answered_in_their_language_and_can_choose_another(bot: Bot) -> None:
    bot.get(text("hallo", UTE))
    bot.get(text("hola", JUAN))
    bot.get(text("*English*", JUAN))
    bot.get(text("hola", JUAN))
    assert bot.meta.to(UTE)[0].startswith("Schick mir ein Video")
    first, chosen, after = bot.meta.to(JUAN)
    assert first.startswith("Envíame un vídeo")
    assert chosen == "From now on in English."
    assert after.startswith("Send me a video")


def test_who_asks_for_it_is_forgotten(bot: Bot, clip: bytes) -> None:
    bot.get(media("video", bot.meta.offer(clip)), media("video", bot.meta.offer(clip), JUAN))
    bot.finish()
    bot.rounds()
    bot.get(text("delete"))
    assert bot.meta.to(ANN)[-1] == "Everything that you sent was erased, 1 analyses with it."
    (ann, juan) = sorted(bot.jobs(), key=lambda job: job.erased_at is None)
    assert (ann.report, ann.media_sha256, ann.filename) == (None, None, "")
    assert juan.report is not None
    sender = ann.owner.removeprefix("whatsapp.")
    with bot.api.service.engine.connect() as connection:
        query = sa.select(whatsapp_inbox).where(whatsapp_inbox.c.sender == sender)
        kept = [(row.content, row.job_id) for row in connection.execute(query)]
    assert kept == [({}, None), ({}, None)]
    assert bot.count(whatsapp_outbox, sender=sender) == 1  # the answer to this


def test_old_messages_and_silent_senders_are_forgotten_in_the_end(bot: Bot) -> None:
    bot.get(text("hello"))
    old = utc_now() - timedelta(days=31)
    bot.change(whatsapp_senders, wrote_at=old)
    bot.change(whatsapp_inbox, received_at=old)
    bot.change(whatsapp_outbox, created_at=old)
    from aura.integrations.whatsapp import inbox

    (extension,) = bot.api.extensions
    inbox.forget_before(extension.rounds["whatsapp-inbox"].__self__, utc_now() - timedelta(days=30))
    for table in (whatsapp_inbox, whatsapp_outbox, whatsapp_senders):
        assert bot.count(table) == 0


def test_nobody_is_written_to_who_was_silent_for_a_day_until_they_write(
    bot: Bot, clip: bytes
) -> None:
    bot.get(media("video", bot.meta.offer(clip)))
    bot.change(whatsapp_senders, wrote_at=utc_now() - timedelta(hours=25))
    bot.finish()
    bot.rounds()
    assert len(bot.meta.sent) == 1
    assert bot.count(whatsapp_outbox, state="parked") == 1
    bot.get(text("hello?"))
    assert [one[:12] for one in bot.meta.texts] == ["Received. Yo", "*This resemb", "Send me a vi"]

    # Meta's own clock decides: it says so at once, or after it took the message.
    bot.meta.status, bot.meta.error_code = 400, 131047
    bot.get(text("again"))
    assert bot.count(whatsapp_outbox, state="parked") == 1
    bot.meta.status = 200
    error = [{"code": 131047, "title": "Re-engagement message"}]
    deliver(bot.client, status("wamid.out3", "failed", errors=error))
    assert bot.count(whatsapp_outbox, state="parked") == 2


def test_a_message_that_comes_a_day_late_or_is_replayed_then_is_not_acted_on(bot: Bot) -> None:
    bot.get(message("text", ago=25 * 3600, body="hello"))
    assert bot.meta.sent == []
    assert bot.count(whatsapp_inbox, state="done") == 1


@pytest.mark.parametrize("trouble", ["500", "hanging", "token ran out"])
def test_a_dead_api_delays_messages_keeps_their_order_and_loses_none(
    bot: Bot, clip: bytes, trouble: str
) -> None:
    video = media("video", bot.meta.offer(clip))
    bot.meta.status = {"500": 500, "token ran out": 401}.get(trouble, 200)
    bot.meta.error_code = 190 if trouble == "token ran out" else 1
    bot.meta.hangs = 1.3 if trouble == "hanging" else 0.0
    bot.get(video)
    assert bot.jobs() == []
    assert bot.count(whatsapp_inbox, attempts=1, state="new") == 1
    assert bot.count(whatsapp_outbox, attempts=1, state="pending") == 1
    bot.rounds()  # nothing is due: nobody hammers a server that is down
    assert bot.count(whatsapp_inbox, attempts=1) == 1

    bot.meta.status, bot.meta.hangs = 200, 0.0
    bot.make_due()
    bot.rounds()
    bot.finish()
    bot.rounds()
    texts = [one[:8] for one in bot.meta.texts]
    assert texts == ["Received", "*This re"]
    assert bot.count(whatsapp_outbox, state="sent") == 2


def test_while_one_message_waits_the_next_one_to_the_same_person_waits_behind_it(bot: Bot) -> None:
    bot.meta.status = 500
    for n in range(3):
        bot.get(text(f"hello {n}"))
    bot.get(text("hola", JUAN))
    assert bot.count(whatsapp_outbox, state="pending") == 4
    bot.meta.status = 200
    with bot.api.service.engine.begin() as connection:  # the last is due first
        number = whatsapp_outbox.c.number
        due = utc_now() - timedelta(seconds=60)
        connection.execute(whatsapp_outbox.update().where(number == 3).values(next_at=due))
    bot.rounds()
    assert bot.meta.to(ANN) == []
    bot.make_due()
    bot.rounds()
    replied = [one["context"]["message_id"] for one in bot.meta.sent if one["to"] == ANN]
    with bot.api.service.engine.connect() as connection:
        query = sa.select(whatsapp_outbox.c.content).order_by(number)
        order = [row.content["reply_to"] for row in connection.execute(query)]
    assert replied == [one for one in order if one in replied]
    assert len(replied) == 3


def test_a_message_whose_answer_was_lost_is_not_sent_twice(bot: Bot) -> None:
    bot.meta.answers_late = 1.3  # Meta takes it, but we do not hear of it
    bot.get(text("hello"))
    (sent,) = bot.meta.sent
    assert bot.count(whatsapp_outbox, state="pending") == 1
    bot.meta.answers_late = 0.0
    tracker = sent["biz_opaque_callback_data"]
    told = status("wamid.out1", "delivered", biz_opaque_callback_data=tracker)
    assert deliver(bot.client, told).status_code == 200
    bot.make_due()
    bot.rounds()
    assert len(bot.meta.sent) == 1
    assert bot.count(whatsapp_outbox, state="sent", message_id="wamid.out1") == 1


def test_what_meta_can_never_deliver_is_given_up_and_holds_up_nobody(bot: Bot) -> None:
    bot.meta.status, bot.meta.error_code = 400, 131026
    bot.get(text("hello"))
    bot.meta.status = 200
    bot.get(text("hello"))
    assert bot.count(whatsapp_outbox, state="failed") == 1
    assert len(bot.meta.sent) == 1


def test_the_token_goes_to_no_other_host_whatever_meta_names(
    bot: Bot, clip: bytes, tmp_path: Path
) -> None:
    from aura.integrations.whatsapp.client import CloudApi
    from aura.integrations.whatsapp.settings import read_whatsapp_settings

    settings = read_whatsapp_settings()
    assert settings is not None
    with meta_api() as stranger:
        media_id = bot.meta.offer(clip)
        stranger.media[media_id] = clip
        bot.meta.media_url = f"http://{stranger.host}/media/{media_id}"
        # The guarded client would let it pass: what refuses is the list of hosts for the token.
        api = CloudApi(settings, (bot.meta.host, stranger.host))
        with pytest.raises(AddressRefused, match="does not get the token"):
            api.fetch(media_id, tmp_path / "got", len(clip))
        assert stranger.tokens == set()
        bot.get(media("video", media_id))
        assert bot.count(whatsapp_inbox, attempts=1, state="new") == 1  # tried again later
    assert bot.jobs() == []


def test_the_log_and_the_api_name_no_number(bot: Bot, clip: bytes) -> None:
    bot.get(media("video", bot.meta.offer(clip)))
    (job,) = bot.jobs()
    assert job.owner.startswith("whatsapp.")
    assert PHONE not in job.owner
    assert ANN not in bot.client.get("/openapi.json").text
    assert PATH not in bot.client.get("/openapi.json").text
    assert JobState(job.state) is JobState.QUEUED
