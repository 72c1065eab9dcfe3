"""Speech detection: independent of how the sound is cut, right spans, true times."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from aura.speech import BLOCK, SAMPLE_RATE, SpeechDetector, speech_spans


def vowel_like(seconds: float, seed: int = 0) -> np.ndarray:
    """A pulse train through three formants with syllables: enough of a voice for the network."""
    rng = np.random.default_rng(seed)
    n = int(seconds * SAMPLE_RATE)
    t = np.arange(n) / SAMPLE_RATE
    pitch = 120 + 15 * np.sin(2 * np.pi * 2.1 * t)
    pulses = np.diff(np.floor(np.cumsum(pitch) / SAMPLE_RATE), prepend=0.0)
    formants = np.stack(
        [500 + 200 * np.sin(2 * np.pi * 3.1 * t), 1500 + 400 * np.sin(2 * np.pi * 2.3 * t)]
    )
    out = np.zeros(n)
    for track, width in zip(formants, (60.0, 90.0), strict=True):
        radius = np.exp(-np.pi * width / SAMPLE_RATE)
        a1, a2 = -2 * radius * np.cos(2 * np.pi * track / SAMPLE_RATE), radius**2
        y1 = y2 = 0.0
        for i in range(n):
            y = pulses[i] - a1[i] * y1 - a2 * y2
            y1, y2 = y, y1
            out[i] += y
    syllables = np.clip(np.sin(2 * np.pi * 4.0 * t), 0, None) ** 0.5
    out = out / np.abs(out).max() * (0.1 + syllables) + 0.001 * rng.standard_normal(n)
    return (0.3 * out).astype(np.float32)


def probabilities(sound: np.ndarray) -> np.ndarray:
    detector = SpeechDetector(device="cpu")
    return np.concatenate([detector.feed(sound), detector.finish()])


def test_one_probability_for_each_block_and_one_for_the_rest() -> None:
    detector = SpeechDetector(device="cpu")
    assert len(detector.feed(np.zeros(BLOCK * 3 + 100, np.float32))) == 3
    assert len(detector.finish()) == 1
    assert len(detector.finish()) == 0


def test_voice_is_speech_and_silence_noise_and_a_tone_are_not() -> None:
    rng = np.random.default_rng(1)
    n = 3 * SAMPLE_RATE
    tone = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(n) / SAMPLE_RATE)
    assert np.mean(probabilities(vowel_like(3.0)) > 0.5) > 0.6
    assert probabilities(np.zeros(n, np.float32)).max() < 0.3
    assert np.mean(probabilities(0.05 * rng.standard_normal(n)) > 0.5) < 0.1
    assert np.mean(probabilities(tone) > 0.5) < 0.1


@pytest.mark.parametrize("piece", [1_000, 512, 7_777])
def test_result_is_the_same_however_the_sound_is_cut(piece: int) -> None:
    sound = np.concatenate([np.zeros(5_000, np.float32), vowel_like(2.0)])
    detector = SpeechDetector(device="cpu")
    parts = [detector.feed(sound[i : i + piece]) for i in range(0, len(sound), piece)]
    got = np.concatenate([*parts, detector.finish()])
    np.testing.assert_allclose(got, probabilities(sound), atol=1e-5)


def test_spans_carry_the_time_at_which_the_voice_sounds() -> None:
    quiet = np.zeros(int(1.5 * SAMPLE_RATE), np.float32)
    sound = np.concatenate([quiet, vowel_like(2.0), quiet])
    spans = speech_spans(probabilities(sound), start=10.0, end=10.0 + len(sound) / SAMPLE_RATE)
    assert spans[0].start == pytest.approx(11.5, abs=0.25)
    assert spans[-1].end == pytest.approx(13.5, abs=0.35)


def test_short_gaps_are_closed_and_short_bursts_dropped() -> None:
    # 32 ms a block: a gap of 3 blocks is under 0.1 s, a burst of 7 blocks under 0.25 s.
    gap = [0.9] * 20 + [0.1] * 3 + [0.9] * 20 + [0.1] * 20
    assert len(speech_spans(np.array(gap))) == 1
    assert speech_spans(np.array([0.0] * 10 + [0.9] * 7 + [0.0] * 10)) == []
    long_gap = [0.9] * 20 + [0.1] * 8 + [0.9] * 20
    assert len(speech_spans(np.array(long_gap))) == 2


def test_hysteresis_holds_a_wavering_voice_together() -> None:
    wavering = [0.9] * 10 + [0.4] * 30 + [0.9] * 10
    assert len(speech_spans(np.array(wavering))) == 1
    assert speech_spans(np.array([0.4] * 50)) == []


def test_spans_stay_apart_and_inside_the_sound() -> None:
    # One block under the threshold after the patience: the gap leaves no room for full padding.
    pattern = np.array(([0.9] * 12 + [0.1] * 5) * 4)
    spans = speech_spans(pattern, start=2.0, end=2.0 + len(pattern) * BLOCK / SAMPLE_RATE - 0.01)
    assert spans[0].start == 2.0
    assert all(a.end <= b.start for a, b in itertools.pairwise(spans))
    assert spans[-1].end <= 2.0 + len(pattern) * BLOCK / SAMPLE_RATE - 0.01
