"""Two real people side by side, one of them manipulated: the right one is named."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import aura
import media_factory as make
from aura import media
from aura.faces import FaceDetector
from aura.subjects import SubjectTracker

DATA = Path(os.environ.get("AURA_DATA") or Path(__file__).parents[3] / "shared" / "data")
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not (DATA / "manifest.csv").is_file(),
        reason=f"no data folder at {DATA}: set AURA_DATA to the folder with manifest.csv",
    ),
]
LEFT, RIGHT = "clip_031", "clip_003"  # they speak, at 30 and 25 pictures a second
FPS, SECONDS, HEIGHT = 25, 7.0, 360


def pictures(path):
    """HEIGHT lines, FPS a second."""
    times = []
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            if frame.time + 1e-6 < len(times) / FPS:
                continue
            image = frame.to_ndarray(format="rgb24")
            width = round(image.shape[1] * HEIGHT / image.shape[0] / 2) * 2
            times.append(cv2.resize(image, (width, HEIGHT), interpolation=cv2.INTER_AREA))
    return times[: int(SECONDS * FPS)]


def sound(name):
    with media.extract_audio(DATA / "clips" / "dev" / f"{name}.mp4") as file:
        samples = np.frombuffer(file.read_bytes()[44:], "<i2") / 32768
    samples = samples[: int(SECONDS * 16_000)]
    return (0.3 * samples / np.abs(samples).max()).astype(np.float32)


def side_by_side(path, left, right, samples):
    both = (np.hstack(pair) for pair in zip(left, right, strict=False))
    track = make.Sound(samples[None].copy(), 16_000, "mono")
    return make.write_clip(path, both, fps=FPS, audio=track, options={"crf": "20"})


def places(path):
    """Which subject is on the left: tracked anew, by the middle of the boxes."""
    tracker = SubjectTracker(FaceDetector(device="cpu"), None)
    found = {}
    with closing(media.decode(media.probe(path))) as decoded:
        for chunk in tracker.follow(decoded):
            for track in chunk.tracks:
                if len(track.boxes):
                    found.setdefault(track.subject, float(track.boxes[:, [0, 2]].mean()))
            break
    left, right = sorted(found, key=lambda one: found[one])[:2]
    return left, right


@pytest.fixture(scope="module")
def people():
    return [pictures(DATA / "clips" / "dev" / f"{name}.mp4") for name in (LEFT, RIGHT)]


@pytest.mark.parametrize("side", [0, 1], ids=["left", "right"])
def test_the_person_whose_face_was_replaced_is_named(people, tmp_path, side):
    pytest.importorskip("scipy")
    from aura.training.lite.partial import FacePaster

    changed = list(people)
    paster = FacePaster(FaceDetector(device="cpu"), FPS, np.random.default_rng(3))
    changed[side] = [paster(one) for one in people[side][: 4 * FPS]]
    path = side_by_side(tmp_path / "two.mp4", *changed, sound(LEFT))
    guilty, other = places(path)[:: -1 if side else 1]
    report = aura.analyze(path)
    found = {one.id: one for one in report.subjects}
    assert report.prediction.decisive_subject == guilty
    assert found[guilty].overall_class == "fake"
    assert found[other].overall_class != "fake"
    assert {one.subject for one in report.prediction.segments} == {guilty}


def test_of_two_who_talk_by_turns_the_one_with_shifted_sound_is_named(people, tmp_path):
    half = int(SECONDS / 2 * 16_000)
    late = np.roll(sound(RIGHT), int(0.6 * 16_000))
    path = side_by_side(
        tmp_path / "turns.mp4", *people, np.concatenate([sound(LEFT)[:half], late[half:]])
    )
    left, right = places(path)
    report = aura.analyze(path)
    sync = {one.subject: one for one in report.detectors if one.name == "sync"}
    assert sync[left].status == sync[right].status == "ok"
    assert sync[left].score < 0.5 < sync[right].score
    assert sync[right].details["offset_seconds"] == pytest.approx(0.6, abs=0.1)
    assert (sync[left].weight, sync[left].share) == (0.0, 0.0)
    assert sync[right].share > 0
