"""Lips and voice: what belongs together, what does not, and when nothing may be said."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from talking import chunks, mouth, syllables, track, voice

from aura.detectors.alignment import Agreement, agreements, grid_times, high_pass, on_grid
from aura.detectors.lips import SIGNALS, LipReader
from aura.detectors.sync import SyncDetector
from aura.detectors.sync_windows import window_correlation
from aura.hearing import FEATURE_STEP, Listener, log_mel, mel_filters

if TYPE_CHECKING:
    from aura.detectors.base import Chunk, Evidence

SECONDS = 9.0


def judge(clip: list[Chunk]) -> list[Evidence]:
    detector = SyncDetector(device="cpu")
    for chunk in clip:
        detector.observe(chunk)
    return detector.conclude()


@lru_cache(maxsize=1)
def opening() -> np.ndarray:
    return syllables(SECONDS, seed=1)


@lru_cache(maxsize=1)
def spoken() -> np.ndarray:
    return voice(opening(), seed=1)


@lru_cache(maxsize=1)
def foreign() -> np.ndarray:
    return voice(syllables(SECONDS, seed=77), seed=77)


def test_lips_that_fit_the_voice_are_shown_and_count_nothing() -> None:
    (found,) = judge(chunks(opening(), spoken()))
    assert found.status == "ok"
    assert found.score is not None
    assert found.score < 0.3
    assert found.weight == 0.0
    assert abs(found.details["offset_seconds"]) <= 0.08
    assert found.details["correlation"] > found.details["threshold"]
    assert len(found.windows) >= 6
    assert np.mean([window.score for window in found.windows]) < 0.3


def test_a_foreign_voice_counts_as_evidence_of_manipulation() -> None:
    (found,) = judge(chunks(opening(), foreign()))
    assert found.score is not None
    assert found.score > 0.7
    assert found.weight > 0.3
    assert found.details["offset_seconds"] is None
    assert np.mean([window.score for window in found.windows]) > 0.6


@pytest.mark.parametrize("late", [0.6, -0.6])
def test_shifted_sound_is_found_with_its_offset_and_counts_less(late: float) -> None:
    (found,) = judge(chunks(opening(), np.roll(spoken(), int(late * 16_000))))
    (foreign_found,) = judge(chunks(opening(), foreign()))
    assert found.score is not None
    assert found.score > 0.6
    assert found.details["offset_seconds"] == pytest.approx(late, abs=0.09)
    assert 0 < found.weight < foreign_found.weight


@pytest.mark.parametrize("late", [0.16, -0.16])
def test_a_small_delay_as_recorders_make_it_is_no_alarm(late: float) -> None:
    (found,) = judge(chunks(opening(), np.roll(spoken(), int(late * 16_000))))
    assert found.weight == 0.0
    assert found.details["offset_seconds"] == pytest.approx(late, abs=0.06)
    assert np.mean([window.score for window in found.windows]) < 0.3


def curve(peak: int | None, floor: float = 0.1, unseen: tuple[int, ...] = ()) -> Agreement:
    """Flat but for a peak of 0.9 at one lag, nan at lags that were not seen."""
    lags = np.arange(-20, 21)
    values = np.where(lags == (99 if peak is None else peak), 0.9, floor)
    return Agreement(lags, np.where(np.isin(lags, unseen), np.nan, values))


@pytest.mark.parametrize(
    ("lag", "peak", "wanted"),
    [
        (0, 2, 0.9),  # near the clip's own lag
        (0, 3, 0.1),  # elsewhere within the tolerance: chance, or another recording
        (-4, -5, 0.9),  # early, as all of this clip
        (-4, 0, 0.1),
        (None, 5, 0.9),  # a clip that fits nowhere: what viewers accept
        (None, 6, 0.1),
        (None, -2, 0.9),
        (None, -3, 0.1),
        (None, None, 0.1),  # no peak anywhere
        (0, 15, 0.1),
    ],
)
def test_a_window_is_judged_at_lags_that_may_pass(
    lag: int | None, peak: int | None, wanted: float
) -> None:
    assert window_correlation(curve(peak), lag) == wanted


def test_a_window_not_seen_at_the_clips_lag_is_still_judged() -> None:
    unseen = tuple(range(-20, -1))
    assert window_correlation(curve(0, unseen=unseen), -4) == 0.9
    assert np.isnan(window_correlation(curve(0, unseen=tuple(range(-20, 21))), 0))


def test_windows_tell_where_the_voice_stops_fitting() -> None:
    mixed = spoken().copy()
    half = len(mixed) // 2
    mixed[half:] = foreign()[half:]
    (found,) = judge(chunks(opening(), mixed))
    before = [w.score for w in found.windows if w.end <= SECONDS / 2]
    after = [w.score for w in found.windows if w.start >= SECONDS / 2]
    assert np.mean(after) > np.mean(before) + 0.3


def test_answer_does_not_depend_on_where_the_clip_is_cut() -> None:
    (one,) = judge(chunks(opening(), spoken(), piece=100.0))
    for piece in (0.7, 2.5):
        (other,) = judge(chunks(opening(), spoken(), piece=piece))
        assert other.logit == pytest.approx(one.logit, abs=1e-6)
        assert other.details == one.details
        np.testing.assert_allclose(
            [window.score for window in other.windows],
            [window.score for window in one.windows],
            atol=1e-6,
        )


def test_frame_rate_and_loudness_do_not_change_the_verdict() -> None:
    (usual,) = judge(chunks(opening(), spoken()))
    (fast,) = judge(chunks(opening(), spoken(), fps=30.0))
    (quiet,) = judge(chunks(opening(), 0.05 * spoken()))
    assert fast.details["correlation"] == pytest.approx(usual.details["correlation"], abs=0.1)
    assert quiet.details["correlation"] == pytest.approx(usual.details["correlation"], abs=0.02)


def test_a_still_mouth_beside_a_voice_is_not_the_speaker() -> None:
    still = np.full(len(opening()), 0.1)
    (found,) = judge(chunks(still, spoken()))
    assert found.status == "not_applicable"
    assert found.score is None
    assert "Not the speaker" in (found.reason or "")


def test_somebody_else_in_the_picture_is_left_to_the_speaker() -> None:
    chewing = syllables(SECONDS, seed=5)
    first, second = judge(chunks(opening(), spoken(), others=(chewing,)))
    assert first.status == "ok"
    assert (second.status, second.subject) == ("not_applicable", 1)
    assert "another person" in (second.reason or "")


@pytest.mark.parametrize(
    ("clip", "word"),
    [
        (lambda: chunks(opening(), None), "no audio track"),
        (lambda: chunks(opening(), np.zeros(int(SECONDS * 16_000), np.float32)), "silent"),
        (lambda: chunks(opening(), spoken(), speech=0.1), "Too little speech"),
        (lambda: chunks(opening()[:2000], spoken()[:32_000]), "Too little speech"),
        (lambda: chunks(opening(), spoken(), fps=6.0), "10 pictures a second"),
        (lambda: [replace(c, tracks=()) for c in chunks(opening(), spoken())], "No face"),
    ],
    ids=["no track", "silent", "no speech", "too short", "few pictures", "no face"],
)
def test_says_why_it_can_not_judge(clip: object, word: str) -> None:
    (found,) = judge(clip())  # type: ignore[operator]
    assert found.status == "not_applicable"
    assert found.score is None
    assert found.logit is None
    assert word in (found.reason or "")


def test_lip_signals_follow_the_mouth_whatever_the_frame_rate() -> None:
    column = SIGNALS.index("opening")
    opened = {}
    for fps in (15, 30):
        times = np.arange(int(0.4 * fps) + 1) / fps
        crops = np.stack([mouth(2 * t) for t in times])
        opened[fps] = LipReader().read(times, crops).signals[1:, column].mean()
    assert opened[30] > 0.2
    assert opened[15] == pytest.approx(opened[30], rel=0.35)
    closing = LipReader().read(times, crops[::-1].copy()).signals[1:, column].mean()
    assert closing < -0.2


def test_lip_signals_are_carried_over_a_cut_and_not_over_a_gap() -> None:
    times = np.array([0.0, 0.04, 0.08, 0.5, 0.54])
    crops = np.stack([mouth(v) for v in (0.1, 0.4, 0.7, 0.2, 0.3)])
    whole = LipReader().read(times, crops)
    reader = LipReader()
    pieces = [reader.read(times[:2], crops[:2]), reader.read(times[2:], crops[2:])]
    np.testing.assert_array_equal(np.vstack([p.signals for p in pieces]), whole.signals)
    assert whole.moving.tolist() == [False, True, True, False, True]
    _, seen = on_grid(whole, grid_times(0.0, 15))
    assert seen[:2].all()
    assert not seen[3:12].any()


def test_planted_delay_is_found_where_it_is() -> None:
    rng = np.random.default_rng(0)
    lips = rng.standard_normal((200, 4))
    sound = rng.standard_normal((200, 4))
    sound[5:100] = lips[:95] + 0.3 * rng.standard_normal((95, 4))  # sound comes 5 steps later
    spans = [(0, 90), (110, 190)]
    fits, fits_not = agreements(lips, sound, np.ones(200, bool), spans, max_lag=8)
    assert fits.best()[1] == 5
    assert fits.best()[0] > 0.9
    assert fits.best(tolerance=3)[0] < 0.5
    assert fits_not.best()[0] < 0.5


def test_high_pass_keeps_syllables_and_drops_drift() -> None:
    t = np.arange(500) / 25
    drift, fast = 3 * t, np.sin(2 * np.pi * 4 * t)
    left = high_pass((drift + fast)[:, None])[60:-60, 0]
    assert np.corrcoef(left, fast[60:-60])[0, 1] > 0.99


def test_log_mel_agrees_with_the_transform_written_out() -> None:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(400 + 160).astype(np.float32)
    n = np.arange(400)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 400)
    spectrum = np.exp(-2j * np.pi * np.outer(np.arange(201), n) / 400)
    for frame in range(2):
        power = np.abs(spectrum @ (samples[160 * frame :][:400] * window)) ** 2
        wanted = np.log10(mel_filters() @ power)
        np.testing.assert_allclose(log_mel(samples)[:, frame], wanted, atol=1e-3)


def test_a_tone_is_heard_in_its_mel_band() -> None:
    t = np.arange(16_000) / 16_000
    loudest = log_mel(np.sin(2 * np.pi * 1000 * t)).mean(axis=1).argmax()
    # 1 kHz is mel 15 on Slaney's scale, whose 80 bands reach to mel 45.245: band 25.9.
    assert loudest in (25, 26)


def test_hearing_is_the_same_in_pieces_and_at_any_volume() -> None:
    sound = np.concatenate([spoken(), foreign()])[: 15 * 16_000 + 123]
    listener = Listener(device="cpu")
    whole = np.concatenate([listener.feed(sound), listener.finish()])
    assert len(whole) == -(-len(sound) // FEATURE_STEP)
    listener = Listener(device="cpu")
    parts = [listener.feed(sound[i : i + 9_999]) for i in range(0, len(sound), 9_999)]
    np.testing.assert_array_equal(np.concatenate([*parts, listener.finish()]), whole)
    listener = Listener(device="cpu")
    quiet = np.concatenate([listener.feed(0.1 * sound), listener.finish()])
    assert np.abs(quiet - whole).max() < 0.05
    assert whole.std() > 0.3


def test_people_appear_and_leave_without_upsetting_the_rest() -> None:
    clip = chunks(opening(), spoken(), piece=3.0)
    guest = track(np.arange(3.0, 4.0, 0.04), np.stack([mouth(0.2)] * 25), subject=9)
    clip[1] = replace(clip[1], tracks=[*clip[1].tracks, guest])
    first, second = judge(clip)
    (alone,) = judge(chunks(opening(), spoken(), piece=3.0))
    assert first.logit == alone.logit
    assert (second.subject, second.status) == (9, "not_applicable")


def conversation(late: float = 0.0) -> list[Chunk]:
    """Two talk 9 s each and move their mouths meanwhile; the second sound comes late."""
    first, second = syllables(18.0, seed=1), syllables(18.0, seed=2)
    here, there = voice(first, seed=1), np.roll(voice(second, seed=2), int(late * 16_000))
    half = len(here) // 2
    return chunks(first, np.concatenate([here[:half], there[half:]]), others=(second,))


def test_each_of_two_is_judged_only_while_they_speak() -> None:
    for found in judge(conversation()):
        assert found.status == "ok"
        assert found.score is not None
        assert found.score < 0.5
        assert found.details["speaking_seconds"] == pytest.approx(9.0, abs=1.5)
        middles = [(w.start + w.end) / 2 for w in found.windows]
        assert middles
        assert all((m < 9.5) == (found.subject == 0) for m in middles if not 8.5 < m < 9.5)


def test_of_two_speakers_the_one_whose_sound_was_shifted_is_named() -> None:
    first, second = judge(conversation(late=0.6))
    assert first.weight == 0.0
    assert second.score is not None
    assert second.score > 0.5
    assert second.weight > 0.0
    assert second.details["offset_seconds"] == pytest.approx(0.6, abs=0.1)


def test_a_voice_that_fits_neither_of_two_moving_mouths_is_left_alone() -> None:
    for found in judge(chunks(opening(), foreign(), others=(syllables(SECONDS, seed=5),))):
        assert found.status == "not_applicable"
        assert "can't be told" in (found.reason or "")


def test_a_mouth_that_moves_slower_than_speech_is_not_held_against_a_foreign_voice() -> None:
    times = np.arange(len(opening())) / 1000
    grimace = 0.5 + 0.5 * np.sin(2 * np.pi * 1.1 * times)
    (found,) = judge(chunks(grimace, foreign()))
    assert found.details["mouth_motion"] > 0.5
    assert found.status == "not_applicable"
    assert "not as in speech" in (found.reason or "")
