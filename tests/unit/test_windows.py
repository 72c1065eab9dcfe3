"""Windows over time and how they are aggregated."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.errors import UsageError
from aura.windows import SlidingWindows


@given(st.floats(0, 100), st.floats(0.05, 500))
def test_windows_cover_the_clip_overlap_by_half_and_stay_inside(start, length):
    spans = SlidingWindows().spans(start, start + length)
    assert spans[0][0] == start
    assert spans[-1][1] <= start + length + 1e-6
    assert start + length - spans[-1][1] <= 0.25 + 1e-6
    for (left, right), (following, _) in pairwise(spans):
        assert right - left == pytest.approx(1.0)
        assert following < right


def test_gathering_averages_what_falls_into_each_window():
    times = np.array([0.0, 0.4, 0.8, 1.2, 1.6, 2.0])
    values = np.array([0.0, 0.0, 0.6, 0.6, 0.0, 0.0])
    windows = SlidingWindows().gather(times, values, 0.0, 2.0)
    assert [(w.start, w.end) for w in windows] == [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0)]
    assert [w.score for w in windows] == pytest.approx([0.2, 0.6, 0.2])


def test_a_window_without_values_is_left_out():
    windows = SlidingWindows().gather(np.array([0.1, 3.9]), np.array([1.0, 0.0]), 0.0, 4.0)
    assert [(w.start, w.score) for w in windows] == [(0.0, 1.0), (3.0, 0.0)]


def test_aggregation_by_name():
    scores = [0.1, 0.2, 0.3, 0.4, 1.0]
    assert SlidingWindows.aggregate(scores) == pytest.approx(0.4)
    assert SlidingWindows.aggregate(scores, "max") == 1.0
    assert SlidingWindows.aggregate(list(range(10)), "top-k") == pytest.approx(8.5)


def test_unknown_aggregation_and_empty_input_are_refused():
    with pytest.raises(UsageError, match="median"):
        SlidingWindows.aggregate([0.5], "median")
    with pytest.raises(ValueError, match="nothing"):
        SlidingWindows.aggregate([])


def test_impossible_windows_are_refused():
    with pytest.raises(UsageError):
        SlidingWindows(seconds=0)
    with pytest.raises(UsageError):
        SlidingWindows(overlap=1.0)


def test_voting_is_the_share_of_windows_that_call_it_fake():
    assert SlidingWindows.aggregate([0.1, 0.49, 0.5, 0.9], "voting") == 0.5
    assert SlidingWindows.aggregate([0.1, 0.4], "voting") == 0.0
