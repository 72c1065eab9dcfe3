"""Times of all kinds: sane ones pass untouched, insane ones come out in order."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.timeline import Choice, DecodeLog, FrameChooser, PictureTimes

rates = st.sampled_from([None, 1.0, 24.0, 25.0, 30.0, 60.0, 240.0, 1e9])
gaps = st.lists(st.floats(0.001, 500.0), max_size=30)
raw_times = st.lists(st.none() | st.floats(-1e7, 1e7), min_size=1, max_size=40)


def placed(raw: list[float | None], fps: float | None) -> tuple[list[float], DecodeLog]:
    log = DecodeLog()
    times = PictureTimes(fps, log)
    return [
        times.place(time, following) for time, following in zip(raw, [*raw[1:], None], strict=True)
    ], log


@given(st.floats(-0.5, 500.0), gaps, rates)
def test_rising_times_pass_untouched_at_any_rate(start, steps, fps):
    raw = list(itertools.accumulate(steps, initial=start))
    times, log = placed(raw, fps)
    assert times == pytest.approx(raw)
    assert log.repaired_timestamps == 0


@given(raw_times, rates)
def test_any_times_come_out_finite_and_strictly_rising(raw, fps):
    times, _ = placed(raw, fps)
    assert all(math.isfinite(time) for time in times)
    assert all(a < b for a, b in itertools.pairwise(times))


@given(raw_times)
def test_the_clip_never_becomes_absurdly_long(raw):
    assert placed(raw, 25.0)[0][-1] <= 1 + 600 * len(raw)


@given(st.floats(0, 2), gaps, st.sampled_from([1.0, 5.0, 7.0, 10.0, 25.0]), rates)
def test_each_grid_instant_gets_at_most_one_picture_and_none_is_left_out(start, steps, fps, rate):
    chooser = FrameChooser(fps, rate)
    times = list(itertools.accumulate(steps, initial=start))
    sampled = [time for time in times if chooser.choose(time) is Choice.SAMPLE]
    cells = [math.floor((time + 0.0005) * fps) for time in sampled]
    assert len(set(cells)) == len(cells)
    assert set(cells) == {math.floor((time + 0.0005) * fps) for time in times}


def test_a_video_without_any_times_gets_them_from_its_rate():
    times, log = placed([None] * 4, 10.0)
    assert times == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert log.repaired_timestamps == 4
