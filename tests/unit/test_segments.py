"""Stretches: where they begin and end, what is bridged and what is too little to tell."""

from __future__ import annotations

import pytest

from aura.segments import SegmentRule, find_stretches
from aura.windows import SlidingWindows, Window

RULE = SegmentRule(enter=0.7, stay=0.5, bridge=0.5, shortest=1.0)


def windows(scores, length=10.0):
    """Windows of 1 s every half second; a window is as suspicious as its share of `scores`."""
    cut = SlidingWindows().spans(0.0, length)
    return [
        Window(a, b, 0.02 + 0.96 * sum(scores(a + 0.25 + d) for d in (0, 0.5)) / 2) for a, b in cut
    ]


def within(*spans):
    return lambda t: any(a <= t < b for a, b in spans)


def test_a_replaced_stretch_is_told_to_within_half_a_window():
    (one,) = find_stretches(windows(within((3.0, 6.0))), RULE)
    assert one.start == pytest.approx(3.0, abs=0.51)
    assert one.end == pytest.approx(6.0, abs=0.51)
    assert one.score > 0.9


def test_two_stretches_stay_apart_and_a_short_gap_is_bridged():
    apart = find_stretches(windows(within((1.0, 3.0), (6.0, 8.0))), RULE)
    assert [round(one.start) for one in apart] == [1, 6]
    joined = find_stretches(windows(within((1.0, 3.0), (3.5, 6.0))), RULE)
    assert len(joined) == 1
    assert joined[0].end - joined[0].start > 4


def test_a_stretch_goes_on_below_the_level_at_which_it_begins():
    weak = [
        Window(t / 2, t / 2 + 1, 0.75 if t == 4 else 0.55 if 2 <= t <= 8 else 0.1)
        for t in range(14)
    ]
    (one,) = find_stretches(weak, SegmentRule(0.6, 0.4, 0.0, 0.5))
    assert one.end - one.start >= 3.0
    flat = [Window(one.start, one.end, min(one.score, 0.55)) for one in weak]
    assert find_stretches(flat, SegmentRule(0.6, 0.4, 0.0, 0.5)) == []


def test_a_blip_is_too_short_and_nothing_is_bridged_where_nothing_was_seen():
    assert find_stretches(windows(within((4.0, 4.5))), SegmentRule(0.6, 0.5, 0.0, 1.5)) == []
    gone = [Window(0.0, 1.0, 0.9), Window(1.4, 2.4, 0.9)]
    assert len(find_stretches(gone, RULE)) == 2
    assert find_stretches([], RULE) == []
