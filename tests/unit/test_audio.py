"""Synthetic voices: what is measured, what the detector says, and when it says nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from talking import syllables, voice

from aura.detectors.audio import STEP, AudioDetector, hearing_of, second_starts
from aura.detectors.base import SAMPLE_RATE, Chunk, Evidence, Sound
from aura.detectors.voice import WINDOW, measure, other_phases
from aura.hearing import FEATURE_STEP, WIDTH, Listener
from aura.runtime import Model, ModelCard, OpenVinoSession, model_card, read_card, verify_card
from aura.speech import BLOCK

SECONDS = 8.0
MEASURES = 439


@lru_cache(maxsize=1)
def spoken() -> np.ndarray:
    return voice(syllables(SECONDS, seed=3), seed=3)


def windows(sound: np.ndarray) -> np.ndarray:
    return np.stack([sound[start : start + WINDOW] for start in range(0, 4 * STEP, STEP)])


def pieces(
    sound: np.ndarray | None, *, piece: float = 4.0, speech: Any = 1.0, start: float = 0.0
) -> list[Chunk]:
    if sound is None:
        return [Chunk(0.0, 4.0, (), None)]
    step = round(piece * SAMPLE_RATE / BLOCK) * BLOCK
    blocks = -(-len(sound) // BLOCK)
    said = np.broadcast_to(np.asarray(speech, np.float32), blocks)
    made = []
    for first in range(0, len(sound), step):
        part = sound[first : first + step].astype(np.float32)
        here = said[first // BLOCK : first // BLOCK + -(-len(part) // BLOCK)]
        begins = start + first / SAMPLE_RATE
        made.append(Chunk(begins, begins + piece, (), Sound(begins, part, here)))
    return made


@dataclass
class Fixed:
    """A network whose logit is one of its inputs: it shows what the detector hands over."""

    column: int = MEASURES
    rows: list[np.ndarray] = field(default_factory=list)

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        self.rows += list(inputs["voice"])
        return {"logit": inputs["voice"][:, self.column]}


class Stem:
    """Features that say which 40 ms they are of, so that a slip in time shows."""

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        level = inputs["mel"][0].mean(axis=0).reshape(-1, 4).mean(axis=1)
        return {"features": np.repeat(level[None, :, None], WIDTH, axis=2).astype(np.float32)}


def network(session: Fixed, *, slope: float = 1.0, bias: float = 0.0) -> Model:
    card = ModelCard(
        "made-up", "1", "x.onnx", "0", "", "", {}, {}, {"clip": {"slope": slope, "bias": bias}}
    )
    return Model(card, session)


def judge(clip: list[Chunk], model: Model | None = None) -> Evidence:
    detector = AudioDetector(model or network(Fixed()), Stem())
    for chunk in clip:
        detector.observe(chunk)
    (found,) = detector.conclude()
    return found


def test_measures_do_not_depend_on_volume_or_offset() -> None:
    one = measure(windows(spoken()))
    assert one.shape == (4, 2 * MEASURES)
    np.testing.assert_allclose(measure(0.01 * windows(spoken()) + 0.001), one, atol=2e-3)


def test_measures_are_finite_for_silence_clicks_and_tones() -> None:
    click, tone = np.zeros(WINDOW), np.sin(np.arange(WINDOW) * 0.3)
    click[5000] = 1.0
    found = measure(np.stack([np.zeros(WINDOW), click, tone, np.sign(tone)]))
    assert np.isfinite(found).all()


def test_other_phases_keep_the_spectrum_and_lose_the_pulses() -> None:
    pulses = np.zeros((1, WINDOW), np.float32)
    pulses[0, ::160] = 1.0  # a voice of 100 Hz with all its phases in step
    made = other_phases(pulses)
    assert made.shape == pulses.shape
    level = np.sqrt(np.mean(made**2)) / np.sqrt(np.mean(pulses**2))
    assert level == pytest.approx(1.0, abs=0.25)
    assert np.abs(made[0, 4000:12000]).max() < 0.7
    harmonic, between = (
        np.abs(np.fft.rfft(made[0] * np.hanning(WINDOW)))[k:4000:100] for k in (100, 150)
    )
    assert harmonic.mean() > 3 * between.mean()
    np.testing.assert_array_equal(other_phases(pulses), made)


def test_a_voice_with_lost_phases_differs_less_from_itself_with_others() -> None:
    natural = windows(spoken())
    robbed = other_phases(natural.astype(np.float32))
    own, other = (np.abs(measure(sound)[:, MEASURES:]).mean() for sound in (natural, robbed))
    assert other < 0.8 * own


def test_seconds_with_too_little_speech_are_left_out() -> None:
    speech = np.zeros(125)  # 4 s
    speech[32:94] = 1.0  # from 1.02 s to 3.01 s
    assert second_starts(speech, 4 * SAMPLE_RATE) == [16000, 24000, 32000]
    assert second_starts(speech, 4 * SAMPLE_RATE, first=24000) == [24000, 32000]


def test_the_score_is_the_calibrated_mean_of_the_seconds() -> None:
    session = Fixed(column=3)
    found = judge(pieces(spoken()), network(session, slope=2.0, bias=0.5))
    values = np.array([row[3] for row in session.rows])
    assert len(values) == len(found.windows) == 15
    assert found.logit == pytest.approx(2.0 * values.mean() + 0.5, abs=1e-5)
    scores = [window.score for window in found.windows]
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-(2 * values + 0.5))), atol=1e-5)
    np.testing.assert_allclose(
        np.stack(session.rows)[:4, : 2 * MEASURES], measure(windows(spoken()))
    )


def test_each_second_is_judged_with_its_own_hearing_and_time() -> None:
    session = Fixed()
    found = judge(pieces(spoken(), start=1.25), network(session))
    listener = Listener(Stem())
    features = np.concatenate([listener.feed(spoken()), listener.finish()])
    starts = range(0, len(spoken()) - WINDOW + 1, STEP)
    for row, start in zip(session.rows, starts, strict=True):
        np.testing.assert_allclose(row[2 * MEASURES :], hearing_of(features, start), atol=1e-6)
        assert features[start // FEATURE_STEP, 0] != pytest.approx(features[-1, 0])
    assert [window.start for window in found.windows][:2] == [1.25, 1.75]
    assert all(window.end - window.start == pytest.approx(1.0) for window in found.windows)


def test_answer_does_not_depend_on_where_the_clip_is_cut() -> None:
    said = np.tile(np.repeat([1.0, 0.0], [90, 35]), 2)
    one = judge(pieces(spoken(), piece=100.0, speech=said))
    assert 3 <= len(one.windows) < 15
    for piece in (0.1, 0.7, 2.5):
        other = judge(pieces(spoken(), piece=piece, speech=said))
        assert other.logit == pytest.approx(one.logit, abs=1e-6)
        assert [(w.start, w.end) for w in other.windows] == [(w.start, w.end) for w in one.windows]
        assert other.details == one.details


def test_no_trace_counts_nothing_and_traces_count_the_more_the_clearer() -> None:
    weights = [
        judge(pieces(spoken()), network(Fixed(), slope=0.0, bias=bias)).weight
        for bias in (-3.0, 0.0, 1.0, 3.0)
    ]
    assert weights[:2] == [0.0, 0.0]
    assert 0.4 < weights[2] < 0.5
    assert weights[3] > 0.9


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (pieces(None), "no audio track"),
        (pieces(np.zeros(4 * SAMPLE_RATE)), "silent"),
        (pieces(0.1 * np.ones(4 * SAMPLE_RATE), speech=0.1), "Too little speech: 0.0 s"),
        (pieces(0.1 * np.ones(3 * SAMPLE_RATE // 2)), "Too little speech: 1.5 s"),
        (pieces(np.zeros(0)), "no audio track"),
    ],
)
def test_it_says_why_it_can_not_judge(clip: list[Chunk], words: str) -> None:
    found = judge(clip)
    assert found.status == "not_applicable"
    assert found.score is found.logit is None
    assert words in (found.reason or "")


def test_two_listeners_to_one_clip_run_the_network_once() -> None:
    class Counting(Stem):
        runs = 0

        def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
            self.runs += 1
            return super().run(inputs)

    stem, other = Counting(), Counting()
    first, second, third = Listener(stem), Listener(stem), Listener(other)
    for start in range(0, len(spoken()), 30_000):
        part = spoken()[start : start + 30_000]
        np.testing.assert_array_equal(first.feed(part), second.feed(part))
        third.feed(part)
    np.testing.assert_array_equal(first.finish(), second.finish())
    third.finish()
    assert stem.runs == other.runs == 2


def test_the_shipped_network_is_the_one_that_its_card_describes(tmp_path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("sklearn")
    from aura.training.audio.export import KEPT, export
    from aura.training.linear import Network

    random = np.random.default_rng(0)
    made = Network(
        random.normal(0, 1, 6), random.uniform(0.5, 2, 6), 1.5, random.normal(0, 1, 6), 0.3
    )
    made.save(tmp_path / KEPT)
    figures = {"parameters": {}, "data": [], "metrics": {}}
    written = read_card(export(tmp_path, figures, {}, tmp_path))
    assert verify_card(written, tmp_path) is None
    values = random.normal(0, 3, (5, 6))
    out = OpenVinoSession(tmp_path / written.file).run({"voice": values.astype(np.float32)})
    np.testing.assert_allclose(out["logit"], made(values), atol=1e-5)
    card = model_card("audio-lite")
    assert card.parameters["clip"]["slope"] > 0
    assert json.dumps(card.metrics["held-out families and voices"])
    assert card.limits
