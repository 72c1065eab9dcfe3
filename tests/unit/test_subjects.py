"""Tracking: who is who, what is cut out, and that chunks lose nothing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from aura.faces import FaceDetector
from aura.media import Frame, SoundBlock
from aura.speech import SpeechDetector
from aura.subjects import CHUNK_SECONDS, SubjectTracker, likeness
from media_factory import camera_over, scene, texture

WIDTH, HEIGHT, FPS, SAMPLED_EVERY = 640, 360, 25, 5


def frames(pictures, fps=FPS, every=SAMPLED_EVERY, start=0.0):
    for index, picture in enumerate(pictures):
        luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        sampled = index % every == 0
        yield Frame(
            index, start + index / fps, luma, picture if sampled else None, 1 if sampled else None
        )


@pytest.fixture(scope="module")
def detector():
    return FaceDetector(device="cpu")


def run(detector, pictures, mode="all", speech=None):
    tracker = SubjectTracker(detector, speech, mode)
    return tracker, list(tracker.follow(pictures))


def test_one_swaying_head_is_one_person_seen_in_every_sampled_picture(detector, portrait):
    pictures = list(camera_over(portrait[:288], 60, WIDTH, HEIGHT))
    tracker, chunks = run(detector, frames(pictures))
    (person,) = tracker.people
    assert person.faces == tracker.tally.sampled == 12
    tracks = [track for chunk in chunks for track in chunk.tracks]
    assert np.concatenate([t.frame_ids for t in tracks]).tolist() == list(range(0, 60, 5))
    assert all(track.crops.dtype == np.uint8 for track in tracks)


def test_every_picture_between_two_detections_gives_one_mouth_in_order(detector, portrait):
    _, chunks = run(detector, frames(camera_over(portrait[:288], 151, WIDTH, HEIGHT)))
    times = np.concatenate([t.mouth_times for chunk in chunks for t in chunk.tracks])
    assert np.allclose(times, np.arange(151) / FPS)
    assert len(chunks) > 1


def test_the_mouth_stays_still_in_its_crop_while_the_camera_sways(detector, portrait):
    _, chunks = run(detector, frames(camera_over(portrait[:288], 60, WIDTH, HEIGHT, sway=0.02)))
    mouths = np.concatenate([t.mouths for c in chunks for t in c.tracks]).astype(float)
    steady = np.abs(np.diff(mouths, axis=0)).mean()
    assert steady < 3.0  # grey levels; the same crop at a fixed place changes by far more
    fixed = [
        cv2.cvtColor(p, cv2.COLOR_RGB2GRAY)[100:260, 250:410].astype(float)
        for p in camera_over(portrait[:288], 60, WIDTH, HEIGHT, sway=0.02)
    ]
    assert np.abs(np.diff(fixed, axis=0)).mean() > 2 * steady


def test_chunks_are_bounded_and_cover_the_clip_without_gap(detector, portrait):
    _, chunks = run(detector, frames(camera_over(portrait[:288], 260, WIDTH, HEIGHT)))
    assert [chunk.start for chunk in chunks[1:]] == [chunk.end for chunk in chunks[:-1]]
    assert all(chunk.end - chunk.start <= CHUNK_SECONDS + 0.1 for chunk in chunks)
    assert chunks[0].start == 0.0
    assert chunks[-1].end == pytest.approx(259 / FPS)


def test_two_people_are_two_subjects_and_keep_their_places(detector, portrait):
    picture = scene(portrait, [(40, 70), (380, 70)])
    tracker, chunks = run(detector, frames([picture] * 30))
    assert len(tracker.people) == 2
    assert tracker.tally.with_several == tracker.tally.sampled == 6
    for track in chunks[0].tracks:
        assert np.ptp(track.boxes[:, 0]) < 20


def test_single_mode_skips_pictures_with_several_faces(detector, portrait):
    alone = scene(portrait, [(40, 70)])
    both = scene(portrait, [(40, 70), (380, 70)])
    tracker, _ = run(detector, frames([alone] * 20 + [both] * 20), mode="single")
    assert len(tracker.people) == 1
    assert tracker.people[0].faces == 4
    assert tracker.tally.with_several == 4


def test_somebody_who_comes_in_later_is_found_within_a_second(detector, portrait):
    alone = scene(portrait, [(40, 70)])
    both = scene(portrait, [(40, 70), (380, 70)])
    tracker, _ = run(detector, frames([alone] * 26 + [both] * 50))
    first, second = tracker.people
    assert first.faces >= 15
    assert second.first_time <= 26 / FPS + 1.2


def test_a_person_is_known_again_after_a_cut_away(detector, portrait):
    here = scene(portrait, [(40, 70)])
    away = texture(WIDTH, HEIGHT, seed=5)
    there = scene(portrait, [(300, 100)], seed=9)
    tracker, chunks = run(detector, frames([here] * 25 + [away] * 40 + [there] * 25))
    (person,) = tracker.people
    assert person.faces == 10
    assert tracker.tally.without_face == 8
    times = np.concatenate([t.mouth_times for c in chunks for t in c.tracks])
    # No mouth is made up for the pictures in which nobody was seen.
    assert not ((times > 24 / FPS + 1e-6) & (times < 65 / FPS - 1e-6)).any()


def test_sound_comes_out_whole_and_in_multiples_of_a_speech_block(detector, portrait):
    pictures = list(frames(camera_over(portrait[:288], 260, WIDTH, HEIGHT)))
    sound = np.sin(np.arange(16_000 * 10) / 9).astype(np.float32)
    blocks = [
        SoundBlock(0.25 + i / 16_000, sound[i : i + 3000]) for i in range(0, len(sound), 3000)
    ]
    merged = [item for pair in zip(pictures, blocks, strict=False) for item in pair]
    merged += pictures[len(blocks) :]
    _, chunks = run(detector, merged, speech=SpeechDetector(device="cpu"))
    parts = [chunk.sound for chunk in chunks]
    assert np.array_equal(np.concatenate([part.samples for part in parts]), sound)
    assert all(len(part.samples) % 512 == 0 for part in parts[:-1])
    assert sum(len(part.speech) for part in parts) == -(-len(sound) // 512)
    starts = np.cumsum([0] + [len(part.samples) for part in parts[:-1]]) / 16_000 + 0.25
    assert np.allclose([part.start for part in parts], starts)


def test_sound_that_begins_after_the_first_chunk_keeps_its_time(detector):
    pictures = [texture(320, 180, index) for index in range(round(10 * FPS))]
    begin = CHUNK_SECONDS + 2.5
    sound = np.sin(np.arange(16_000 * 2) / 9).astype(np.float32)
    items = []
    for frame in frames(pictures):
        items.append(frame)
        if begin <= frame.time < begin + 1 / FPS:
            items.append(SoundBlock(begin, sound))
    chunks = list(SubjectTracker(detector, SpeechDetector()).follow(items))
    heard = [chunk.sound for chunk in chunks if len(chunk.sound.samples)]
    assert len(chunks) > len(heard)  # the first chunks came before any sound
    assert heard[0].start == begin
    assert np.array_equal(np.concatenate([part.samples for part in heard]), sound)


def test_without_any_face_there_are_chunks_but_no_tracks(detector):
    tracker, chunks = run(detector, frames([texture(WIDTH, HEIGHT)] * 30))
    assert tracker.people == []
    assert tracker.tally.without_face == tracker.tally.sampled == 6
    assert all(not chunk.tracks for chunk in chunks)


def test_likeness_tells_the_same_face_from_another(portrait):
    crop = portrait[20:244, 110:334]
    same = np.clip(crop * 0.8 + 20, 0, 255).astype(np.uint8)
    other = texture(224, 224)
    assert float((likeness(crop) * likeness(same)).mean()) > 0.95
    assert abs(float((likeness(crop) * likeness(other)).mean())) < 0.5
