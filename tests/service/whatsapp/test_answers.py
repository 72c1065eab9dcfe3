"""From a message to its answers: the verdict in words, pictures, voices, what can't be judged."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import cv2
import pytest
from meta import ANN, JUAN, TOKEN, media, message, text, text_of

from aura.service.artifacts import described
from aura.service.jobs import Error, utc_now
from aura.service.tables import whatsapp_inbox
from media_factory import Sound, moving_texture, texture, tone, write_clip, write_sound
from whatsapp.bot import made_report

if TYPE_CHECKING:
    from pathlib import Path

    from whatsapp.bot import Bot


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
