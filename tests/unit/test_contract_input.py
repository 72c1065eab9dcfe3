"""Windows of the contract network: faces in their slots, sound in its place, gaps kept."""

from __future__ import annotations

import numpy as np
import pytest

from aura.detectors.contract_input import Faces, Voice, cut_window
from aura.errors import UsageError

NO_VOICE = Voice(0.0, np.zeros(0, np.float32), np.zeros(0, np.float32))


def faces_at(*times: float) -> Faces:
    """Faces whose pixels hold their own number, from 1 on."""
    numbers = np.arange(1, len(times) + 1, dtype=np.uint8)
    crops = np.broadcast_to(numbers[:, None, None, None], (len(times), 4, 4, 3))
    motion = np.stack([numbers, numbers], axis=1).astype(np.float32)
    return Faces(np.array(times, np.float64), crops, motion)


def slots(faces: Faces, start: float, fps: float = 5.0) -> list[int]:
    window = cut_window(faces, NO_VOICE, start, 1.0, fps)
    assert (window.crops[:, 0, 0, 0] == window.motion[:, 0]).all()
    assert (window.frame_mask == (window.crops[:, 0, 0, 0] > 0)).all()
    return [int(value) for value in window.crops[:, 0, 0, 0]]


def test_faces_fill_their_slots() -> None:
    grid = faces_at(*(i / 5 for i in range(12)))
    assert slots(grid, 0.0) == [1, 2, 3, 4, 5]
    assert slots(grid, 0.5) == [4, 5, 6, 7, 8]
    assert slots(grid, 1.0) == [6, 7, 8, 9, 10]


def test_a_missing_face_leaves_a_gap() -> None:
    assert slots(faces_at(0.0, 0.6, 0.8), 0.0) == [1, 0, 0, 2, 3]


def test_two_faces_of_one_slot_follow_each_other() -> None:
    assert slots(faces_at(0.0, 0.19, 0.4, 0.6), 0.0) == [1, 2, 3, 4, 0]


def test_an_irregular_clock_loses_nothing_at_ten_a_second() -> None:
    times = [i / 10 + (0.008 if i % 2 else 0.0) for i in range(10)]
    assert slots(faces_at(*times), 0.0, fps=10.0) == list(range(1, 11))


def test_sound_lies_where_it_is_heard_and_silence_is_masked() -> None:
    samples = np.arange(1, 32_001, dtype=np.float32) / 32_000
    speech = np.zeros(63, np.float32)
    speech[10:40] = 1.0
    voice = Voice(0.25, samples, speech)
    window = cut_window(faces_at(), voice, 0.0, 1.0, 5.0)
    first_speech = round(0.25 * 16_000) + 10 * 512
    assert not window.speech_mask[:first_speech].any()
    assert window.speech_mask[first_speech:].all()
    assert window.samples[first_speech] == samples[10 * 512]
    assert (window.samples[:first_speech] == 0).all()
    assert not window.frame_mask.any()


def test_beyond_the_end_of_the_sound_nothing_is_heard() -> None:
    voice = Voice(0.0, np.ones(8_000, np.float32), np.ones(16, np.float32))
    window = cut_window(faces_at(), voice, 0.0, 1.0, 5.0)
    assert window.speech_mask[:8_000].all()
    assert not window.speech_mask[8_000:].any()
    assert not cut_window(faces_at(), voice, 3.0, 1.0, 5.0).speech_mask.any()


def test_a_window_without_length_is_refused() -> None:
    with pytest.raises(UsageError, match="make no sense"):
        cut_window(faces_at(), NO_VOICE, 0.0, 0.0, 5.0)
