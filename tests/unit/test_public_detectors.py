"""Detectors on public networks: what they are shown, when they speak, and when they don't."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from aura.cuts import BOX_SIDE, GEND_SIDE, GEND_TEMPLATE, face_box, gend_face, resized
from aura.detectors.base import Chunk, FaceTrack, Sound
from aura.detectors.public import ClipDetector, PictureDetector, VoiceDetector
from aura.faces import Face

RANDOM = np.random.default_rng(7)


class Brightness:
    """Stands for a network: its logit is how bright or loud what it is shown is."""

    def __init__(self, **parameters):
        self.card = SimpleNamespace(parameters=parameters)
        self.shown = []

    def run(self, inputs):
        ((_, batch),) = inputs.items()
        self.shown.append(batch.shape)
        values = np.abs(batch.reshape(len(batch), -1).astype(np.float64)).mean(axis=1)
        return {"logit": (values / 10).astype(np.float32)}


def track(count, start=0.0, step=0.2, level=20, cuts=()):
    times = start + step * np.arange(count)
    return FaceTrack(
        subject=1,
        frame_ids=np.arange(count),
        times=times,
        crops=np.full((count, 224, 224, 3), level, np.uint8),
        boxes=np.zeros((count, 4), np.float32),
        landmarks=np.zeros((count, 5, 2), np.float32),
        quality=np.ones(count, np.float32),
        mouth_times=np.zeros(0),
        mouths=np.zeros((0, 64, 64), np.uint8),
        cuts={name: np.full((count, side, side, 3), level, np.uint8) for name, side in cuts},
    )


def chunk(*tracks, sound=None):
    return Chunk(0.0, 4.0, tracks, sound)


@pytest.mark.parametrize("size", [(90, 61), (380, 380), (700, 500)])
@pytest.mark.parametrize("kernel", ["linear", "cubic"])
def test_resizing_is_that_of_the_networks_own_processors(size, kernel):
    torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")
    picture = RANDOM.integers(0, 256, (*size, 3), np.uint8)
    values = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    mode = {"linear": "bilinear", "cubic": "bicubic"}[kernel]
    wanted = torch.nn.functional.interpolate(values, (224, 224), mode=mode, antialias=True)
    found = resized(picture, 224, kernel).astype(float)
    gap = np.abs(found - wanted[0].permute(1, 2, 0).clamp(0, 255).numpy())
    assert gap.max() <= 0.51  # rounding to whole numbers


def test_a_box_is_stretched_to_a_square_and_cut_at_the_border():
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[20:60, 150:200] = 200
    face = Face(np.array([150, 20, 230, 60], np.float32), np.zeros((5, 2), np.float32), 1.0)
    cut = face_box(picture, face)
    assert cut.shape == (BOX_SIDE, BOX_SIDE, 3)
    assert cut.min() == 200


def test_gends_face_has_its_landmarks_on_the_template_with_the_margin_around():
    points = np.array([[100, 120], [160, 120], [130, 155], [108, 190], [154, 190]], np.float32)
    picture = np.zeros((300, 300, 3), np.uint8)
    for x, y in points.astype(int):
        picture[y - 3 : y + 4, x - 3 : x + 4] = 255
    face = Face(np.array([80, 80, 180, 220], np.float32), points, 1.0)
    cut = gend_face(picture, face)
    assert cut.shape == (GEND_SIDE, GEND_SIDE, 3)
    wanted = (np.array(GEND_TEMPLATE) + 0.15) / 1.3 * GEND_SIDE
    for x, y in wanted.astype(int):
        assert cut[y - 2 : y + 3, x - 2 : x + 3].max() > 150


def test_every_face_is_scored_in_padded_batches_and_the_clip_has_their_mean():
    network = Brightness(side=64)
    detector = PictureDetector("visual_b7", network, "box-380")
    detector.observe(chunk(track(5, level=10, cuts=[("box-380", 64)])))
    detector.observe(chunk(track(5, start=1.0, level=30, cuts=[("box-380", 64)])))
    (found,) = detector.conclude()
    assert set(network.shown) == {(4, 64, 64, 3)}
    assert found.logit == pytest.approx(2.0)
    assert len(found.frames) == 10
    assert found.windows[0].score < found.windows[-1].score
    (nobody,) = PictureDetector("visual_b7", network, "box-380").conclude()
    assert (nobody.status, nobody.reason) == ("not_applicable", "No face was found.")


def test_motion_needs_sixteen_faces_in_a_row_of_one_shot():
    network = Brightness(frames=16, side=224)
    detector = ClipDetector("temporal_videomae", network)
    detector.observe(chunk(track(15)))
    detector.observe(chunk(track(15, start=10.0)))  # after a gap: no row goes across
    (found,) = detector.conclude()
    assert found.status == "not_applicable"
    assert (
        found.reason == "The face was seen in 15 pictures in a row; 16 are needed to judge motion."
    )
    assert network.shown == []
    detector.observe(chunk(track(9, start=13.0)))  # 15 + 9 = 24: two rows, half overlapping
    (found,) = detector.conclude()
    assert found.status == "ok"
    assert [(round(w.start, 1), round(w.end, 1)) for w in found.windows] == [
        (10.0, 13.0),
        (11.6, 14.6),
    ]


def sound(seconds, level, speech, start=0.0):
    samples = np.full(round(seconds * 16_000) // 512 * 512, level, np.float32)
    return Sound(start, samples, np.full(len(samples) // 512, speech, np.float32))


def test_only_speech_is_listened_to_in_windows_of_four_seconds():
    network = Brightness()
    detector = VoiceDetector("audio_wav2vec2", network)
    detector.observe(chunk(sound=sound(8, 0.5, 0.9)))
    detector.observe(chunk(sound=sound(8, 0.1, 0.0, start=8.0)))  # music, say
    (found,) = detector.conclude()
    assert found.status == "ok"
    assert found.subject is None
    assert all(window.end - window.start == pytest.approx(4.0) for window in found.windows)
    assert found.windows[-1].start < 7.0
    assert found.details["speech_seconds"] == pytest.approx(8.0, abs=0.1)


def test_a_short_note_is_one_window_and_a_shorter_one_too_little():
    note = VoiceDetector("audio_wav2vec2", Brightness())
    note.observe(chunk(sound=sound(2.5, 0.5, 0.9, start=1.0)))
    (found,) = note.conclude()
    assert found.status == "ok"
    assert [(w.start, round(w.end, 1)) for w in found.windows] == [(1.0, 3.5)]
    shorter = VoiceDetector("audio_wav2vec2", Brightness())
    shorter.observe(chunk(sound=sound(1.5, 0.5, 0.9)))
    (found,) = shorter.conclude()
    assert found.reason == "Too little speech: 1.5 s, never 2 s in a row."
    (found,) = VoiceDetector("audio_wav2vec2", Brightness()).conclude()
    assert found.reason == "The file has no audio track."


def test_motion_of_film_sampled_ten_times_a_second_is_seen_at_the_same_pace():
    detector = ClipDetector("temporal_videomae", Brightness(frames=16, side=224))
    detector.observe(chunk(track(31, step=0.1)))
    (found,) = detector.conclude()
    assert [(round(w.start, 1), round(w.end, 1)) for w in found.windows] == [(0.0, 3.0)]
