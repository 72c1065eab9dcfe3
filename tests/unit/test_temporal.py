"""The temporal detector: what moves with what, over time, on drawn heads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from drawn_heads import chunk, track, walk

from aura.detectors.head_motion import STEP_SIGNALS, HeadMotion, HeadReader, joined
from aura.detectors.motion_traces import TRACES, traces
from aura.detectors.temporal import TemporalDetector

if TYPE_CHECKING:
    from aura.detectors.base import FaceTrack

SECONDS = np.arange(0, 3.0, 1 / 25)
STILL = np.zeros((len(SECONDS), 2))


def read(one: FaceTrack) -> HeadMotion:
    return HeadReader().read(one.mouth_times, one.heads, one.head_landmarks)


def told(one: FaceTrack) -> dict[str, float]:
    rows = traces(read(one))[1]
    assert len(rows)
    return dict(zip(TRACES, np.median(rows, axis=0), strict=True))


@pytest.fixture(scope="module")
def filmed() -> FaceTrack:
    """A head that moves before a wall that stands still."""
    return track(SECONDS, walk(SECONDS), STILL)


def test_a_photo_before_a_moving_camera_takes_its_surround_along(filmed: FaceTrack) -> None:
    photo = track(SECONDS, walk(SECONDS), walk(SECONDS))
    assert told(photo)["glued_far"] == pytest.approx(1.0, abs=0.15)
    assert told(filmed)["glued_far"] == pytest.approx(0.0, abs=0.15)


def test_of_a_plain_wall_nothing_is_told() -> None:
    assert np.isnan(told(track(SECONDS, walk(SECONDS), STILL, plain=True))["glued_far"])


@pytest.mark.parametrize("rate", [12.5, 30.0])
def test_motion_is_a_second_not_a_picture(filmed: FaceTrack, rate: float) -> None:
    times = np.arange(0, 3.0, 1 / rate)
    other = told(track(times, walk(times), np.zeros((len(times), 2))))
    same = told(filmed)
    assert other["turn"] == pytest.approx(same["turn"], abs=0.15)
    assert other["glued_far"] == pytest.approx(same["glued_far"], abs=0.15)


def test_reading_in_pieces_changes_nothing(filmed: FaceTrack) -> None:
    reader = HeadReader()
    parts = [
        reader.read(filmed.mouth_times[a:b], filmed.heads[a:b], filmed.head_landmarks[a:b])
        for a, b in ((0, 1), (1, 30), (30, 30), (30, 75))
    ]
    whole, pieces = read(filmed), joined(parts)
    for name in HeadMotion.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))


def test_no_step_goes_over_a_hole(filmed: FaceTrack) -> None:
    times = filmed.mouth_times + np.where(np.arange(len(SECONDS)) >= 40, 2.0, 0.0)
    motion = HeadReader().read(times, filmed.heads, filmed.head_landmarks)
    assert not ((motion.step_times > times[39]) & (motion.step_times < times[40])).any()
    assert motion.steps.shape[1] == len(STEP_SIGNALS)


def test_every_person_is_judged_with_windows_in_time(filmed: FaceTrack) -> None:
    detector = TemporalDetector(device="cpu")
    other = replace(filmed, subject=7)
    detector.observe(chunk(filmed, other))
    found = detector.conclude()
    assert [one.subject for one in found] == [filmed.subject, 7]
    for one in found:
        assert one.status == "ok"
        assert one.modality == "temporal"
        assert one.score is not None
        assert 0 < one.score < 1
        assert one.windows[0].start == 0.0
        assert one.windows[-1].end <= SECONDS[-1] + 1e-6


def test_without_enough_to_see_it_says_why(filmed: FaceTrack) -> None:
    assert TemporalDetector(device="cpu").conclude()[0].reason == "No face was found."
    short, slow = TemporalDetector(device="cpu"), TemporalDetector(device="cpu")
    few = replace(filmed, heads=filmed.heads[:15], head_landmarks=filmed.head_landmarks[:15])
    short.observe(chunk(replace(few, mouth_times=SECONDS[:15])))
    slow.observe(chunk(replace(few, mouth_times=np.arange(15) / 5.0)))
    reasons = [one.conclude()[0].reason or "" for one in (short, slow)]
    assert "0.6 s" in reasons[0]
    assert "Too few pictures a second" in reasons[1]
