"""The visual detector with an injected network."""

from __future__ import annotations

import numpy as np
import pytest

from aura.calibration import sigmoid
from aura.detectors.base import Chunk, FaceTrack
from aura.detectors.visual import BATCH, NAMES, VisualDetector
from aura.runtime import PICTURES, load_model


class Brightness:
    """A network whose logits are simple functions of the picture, so that results are known."""

    def __init__(self):
        self.batches = []

    def run(self, inputs):
        images = inputs["images"]
        self.batches.append(images.shape)
        level = images.mean(axis=(1, 2, 3)) / 100.0
        return {"logits": np.stack([level, -level], axis=1).astype(np.float32)}


def track(subject, levels, start=0):
    count = len(levels)
    crops = np.stack([np.full((224, 224, 3), level, np.uint8) for level in levels])
    return FaceTrack(
        subject=subject,
        frame_ids=np.arange(start, start + count) * 5,
        times=(np.arange(start, start + count) / 5).astype(np.float64),
        crops=crops,
        boxes=np.zeros((count, 4), np.float32),
        landmarks=np.zeros((count, 5, 2), np.float32),
        quality=np.full(count, 0.8, np.float32),
        mouth_times=np.zeros(0),
        mouths=np.zeros((0, 64, 64), np.uint8),
    )


def test_each_person_gets_both_scores_from_their_own_faces():
    detector = VisualDetector(Brightness())
    detector.observe(Chunk(0, 1, [track(0, [100] * 6), track(3, [200] * 6)], None))
    evidence = {(item.detector, item.subject): item for item in detector.conclude()}
    assert set(evidence) == {(name, subject) for name in NAMES for subject in (0, 3)}
    assert evidence["visual_blend", 0].logit == pytest.approx(1.0)
    assert evidence["visual_blend", 3].logit == pytest.approx(2.0)
    assert evidence["visual_generated", 3].logit == pytest.approx(-2.0)
    assert evidence["visual_blend", 3].score == pytest.approx(float(sigmoid(2.0)))


def test_the_answer_does_not_depend_on_how_the_clip_is_cut():
    levels = list(range(0, 250, 6))
    whole, cut = VisualDetector(Brightness()), VisualDetector(Brightness())
    whole.observe(Chunk(0, 9, [track(0, levels)], None))
    for start in range(0, len(levels), 7):
        cut.observe(Chunk(0, 9, [track(0, levels[start : start + 7], start)], None))
    assert whole.conclude() == cut.conclude()


def test_the_network_sees_few_shapes():
    network = Brightness()
    detector = VisualDetector(network)
    detector.observe(Chunk(0, 9, [track(0, [50] * 31), track(1, [60] * 3)], None))
    assert network.batches == [(BATCH, 3, 224, 224), (PICTURES, 3, 224, 224)]


def test_windows_and_frames_carry_the_times_of_the_faces():
    detector = VisualDetector(Brightness())
    detector.observe(Chunk(0, 3, [track(0, [0] * 5 + [250] * 6)], None))
    blend = detector.conclude()[0]
    assert [frame.frame_id for frame in blend.frames] == list(range(0, 55, 5))
    assert blend.windows[0].score < 0.6 < blend.windows[-1].score
    assert blend.windows[0].start == 0.0
    assert blend.windows[-1].end == pytest.approx(2.0)


def test_without_a_face_both_scores_are_not_applicable():
    detector = VisualDetector(Brightness())
    detector.observe(Chunk(0, 4, [], None))
    for item in detector.conclude():
        assert item.status == "not_applicable"
        assert item.score is None
        assert item.reason == "No face was found."


def test_many_faces_get_the_numbers_that_each_gets_alone():
    session = load_model("visual-lite", "cpu")
    faces = np.random.default_rng(0).integers(0, 256, (11, 3, 224, 224)).astype(np.float32)
    together = session.run({"images": faces})["logits"]
    alone = [session.run({"images": faces[i : i + 1]})["logits"][0] for i in (0, 5, 10)]
    assert together.shape == (11, 2)
    assert np.array_equal(together[[0, 5, 10]], np.stack(alone))
