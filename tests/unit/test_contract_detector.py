"""The contract detector with an injected network whose answers can be foreseen."""

from __future__ import annotations

import numpy as np
import pytest

from aura.calibration import sigmoid
from aura.detectors.base import Chunk, FaceTrack, Sound
from aura.detectors.contract import BATCH, LONGEST_WAIT, NAMES, ContractDetector
from aura.fusion import Subject, decide
from aura.profiles import Profile, load_profile
from aura.runtime import Model, ModelCard
from aura.speech import BLOCK, SAMPLE_RATE

FPS = 5.0
DISAGREEMENT = 1.5


class Levels:
    """Judges the face by the brightness of its pictures and the voice by its loudness."""

    def __init__(self):
        self.batches = []

    def run(self, inputs):
        self.batches.append(inputs)
        seen, speech = inputs["frame_mask"], inputs["speech_mask"]
        light = inputs["images"].mean(axis=(1, 2, 3))[inputs["slots"]] / 100.0
        faces = np.maximum(seen.sum(1), 1)
        face = (light * seen).sum(1) / faces + 0.1 * (inputs["motion"][..., 0] * seen).sum(1)
        loud = np.abs(inputs["sound"]).sum(1) / np.maximum(speech.sum(1), 1) * 10.0
        has_video, has_audio = seen.any(1), speech.any(1)
        both = has_video & has_audio

        def two(values):
            return np.stack([-values / 2, values / 2], axis=1).astype(np.float32)

        return {
            "logits": two(face * has_video + loud * has_audio + 1.0 * both),
            "face_logits": two(face),
            "voice_logits": two(loud),
            "manipulation": face,
            "disagreement": np.full(len(seen), DISAGREEMENT),
            "frame_scores": light,
            "attention": np.full(seen.shape, 0.25),
            "has_video": has_video,
            "has_audio": has_audio,
        }


def model(session):
    parameters = {"window_seconds": 1.0, "window_frames": [5, 10], "image_side": 224}
    names = ("name", "version", "file", "sha256", "architecture", "licence")
    return Model(ModelCard(*names, {}, {}, parameters), session)


def track(times, levels, subject=1):
    count = len(times)
    crops = np.zeros((count, 224, 224, 3), np.uint8) + np.array(levels, np.uint8).reshape(
        -1, 1, 1, 1
    )
    return FaceTrack(
        subject=subject,
        frame_ids=np.round(np.array(times) * 25).astype(np.int64),
        times=np.array(times, np.float64),
        crops=crops,
        boxes=np.zeros((count, 4), np.float32),
        landmarks=np.zeros((count, 5, 2), np.float32),
        quality=np.full(count, 0.8, np.float32),
        mouth_times=np.zeros(0),
        mouths=np.zeros((0, 64, 64), np.uint8),
    )


def noise(seconds, loudness=0.1):
    samples = round(seconds * SAMPLE_RATE / BLOCK) * BLOCK
    return np.full(samples, loudness, np.float32)


def chunks(
    seconds, levels=None, *, piece=4.0, samples=None, speech=1.0, late=0.0, fps=FPS, subjects=(1,)
):
    """A clip in pieces; sound comes `late` seconds after its pictures."""
    times = np.arange(round(seconds * fps)) / fps
    levels = np.full(len(times), 100) if levels is None else np.asarray(levels)
    found, heard = [], 0
    edges = [*np.arange(piece, seconds - 0.5, piece), float(times[-1])]
    start = 0.0
    for number, end in enumerate(edges):
        last = number == len(edges) - 1
        inside = (times > start) & (times <= end) if number else times <= end
        sound = None
        if samples is not None:
            until = (
                len(samples) if last else max(0, round((end - late) * SAMPLE_RATE / BLOCK)) * BLOCK
            )
            until = min(max(until, heard), len(samples))
            part = samples[heard:until]
            blocks = np.arange(heard // BLOCK, heard // BLOCK + -(-len(part) // BLOCK))
            loud = np.full(len(blocks), speech) if np.isscalar(speech) else speech[blocks]
            sound = Sound(heard / SAMPLE_RATE, part, loud.astype(np.float32))
            heard = until
        seen = inside & (levels >= 0)
        tracks = [track(times[seen], levels[seen], one) for one in subjects] if seen.any() else []
        found.append(Chunk(start, end, tracks, sound))
        start = end
    return found


def judge(parts, fps=FPS, session=None):
    detector = ContractDetector(model(session or Levels()), fps=fps)
    for chunk in parts:
        detector.observe(chunk)
    return {(item.detector, item.subject): item for item in detector.conclude()}


def test_verdict_face_voice_and_match_stand_side_by_side():
    found = judge(chunks(3.0, samples=noise(3.0)))
    assert set(found) == {(name, None if name == "contract_voice" else 1) for name in NAMES}
    verdict = found["contract", 1]
    assert found["contract_face", 1].logit == pytest.approx(1.0)
    assert found["contract_voice", None].logit == pytest.approx(1.0)
    assert verdict.logit == pytest.approx(3.0)
    assert verdict.score == pytest.approx(float(sigmoid(3.0)))
    assert found["contract_match", 1].score == pytest.approx(float(sigmoid(DISAGREEMENT)))
    assert verdict.agreement == pytest.approx(1 - float(sigmoid(DISAGREEMENT)))
    assert verdict.reason is None
    assert verdict.lacks == {}
    assert [(w.start, w.end) for w in verdict.windows] == [
        (0.0, 1.0),
        (0.5, 1.5),
        (1.0, 2.0),
        (1.5, 2.5),
        (2.0, 3.0),
    ]
    assert [frame.frame_id for frame in verdict.frames] == list(range(0, 75, 5))


def test_contributions_are_shapley_values_that_sum_to_the_logit():
    levels = [50] * 15
    verdict = judge(chunks(3.0, levels, samples=noise(3.0, 0.2)))["contract", 1]
    # Face alone 0.5, voice alone 2, together 3.5: what only both tell is shared evenly.
    assert verdict.parts["visual"] == pytest.approx(1.0)
    assert verdict.parts["audio"] == pytest.approx(2.5)
    assert sum(verdict.parts.values()) == pytest.approx(verdict.logit)


@pytest.mark.parametrize("late", [0.0, 0.7, 5.0])
@pytest.mark.parametrize("piece", [1.1, 4.0, 100.0])
def test_the_answer_does_not_depend_on_how_the_clip_is_cut_or_how_late_its_sound_comes(piece, late):
    random = np.random.default_rng(4)
    levels = random.integers(0, 250, 60)
    levels[[7, 8, 9, 30]] = -1  # no face there
    sound = noise(12.0) * random.uniform(0.5, 2.0, round(12.0 * SAMPLE_RATE / BLOCK)).repeat(BLOCK)
    speech = (random.random(len(sound) // BLOCK) > 0.3).astype(np.float32)
    whole = judge(chunks(12.0, levels, piece=50.0, samples=sound, speech=speech))
    cut = judge(chunks(12.0, levels, piece=piece, samples=sound, speech=speech, late=late))
    assert whole.keys() == cut.keys()
    for key, one in whole.items():
        other = cut[key]
        assert other.logit == pytest.approx(one.logit, abs=1e-5)
        assert [w.start for w in other.windows] == pytest.approx([w.start for w in one.windows])
        for name in ("windows", "frames"):
            scores = [[x.score for x in getattr(found, name)] for found in (one, other)]
            assert scores[1] == pytest.approx(scores[0], abs=1e-5)
    assert len(whole["contract", 1].windows) == 23
    assert len(whole["contract", 1].frames) == 56


def test_a_long_clip_keeps_no_more_than_it_needs():
    detector = ContractDetector(model(Levels()), fps=FPS)
    most = 0
    for chunk in chunks(120.0, samples=noise(120.0)):
        detector.observe(chunk)
        waiting = {id(crop) for job in detector._jobs for crop in job.crops}
        waiting |= {id(crop) for faces in detector._faces.values() for crop in faces.crops}
        most = max(most, len(waiting))
        assert len(detector._sound.samples) < 2.5 * SAMPLE_RATE
    assert most <= FPS * (BATCH / 2 + 2)
    windows = {item.detector: item.windows for item in detector.conclude()}["contract"]
    assert len(windows) == 239


def test_pictures_wait_for_their_sound_but_not_for_ever():
    detector = ContractDetector(model(Levels()), fps=FPS)
    parts = chunks(90.0, samples=noise(90.0), late=1000.0)
    for chunk in parts[:-1]:
        detector.observe(chunk)
        assert sum(len(faces.crops) for faces in detector._faces.values()) <= FPS * (
            LONGEST_WAIT + 6
        )
    detector.observe(parts[-1])
    verdict = {item.detector: item for item in detector.conclude()}["contract"]
    assert 0 < verdict.details["windows_with_speech"] < verdict.details["windows"]


def test_windows_that_overlap_share_their_faces():
    session = Levels()
    judge(chunks(4.5, levels=range(0, 220, 10)[:22], fps=FPS), session=session)
    (batch,) = session.batches
    assert batch["frame_mask"].sum() > 35
    assert len(batch["images"]) == 24  # 22 faces, filled up to one of few sizes
    pictures = batch["images"][batch["slots"]][batch["frame_mask"]]
    times = batch["slots"][batch["frame_mask"]]
    assert (pictures[:, 0, 0, 0] == times * 10).all()


def test_each_person_is_judged_by_their_own_faces_and_the_voice_counts_once():
    found = judge(chunks(3.0, samples=noise(3.0), subjects=(1, 4)))
    assert {key for key in found if key[1] == 4} == {
        ("contract", 4),
        ("contract_face", 4),
        ("contract_match", 4),
    }
    assert len(found["contract_voice", None].windows) == 5


def test_a_face_without_speech_is_judged_alone_and_says_so():
    for samples, speech, why in ((None, 0, "no audio track"), (noise(3.0), 0.1, "No speech")):
        found = judge(chunks(3.0, samples=samples, speech=speech))
        verdict = found["contract", 1]
        assert verdict.status == "ok"
        assert verdict.logit == pytest.approx(1.0)
        assert verdict.reason == "No speech was found: judged by the face alone."
        assert set(verdict.lacks) == {"The voice"}
        assert set(verdict.parts) == {"visual"}
        assert verdict.agreement is None
        for key in (("contract_voice", None), ("contract_match", 1)):
            assert found[key].status == "not_applicable"
            assert why in found[key].reason


def test_speech_without_a_face_is_judged_alone_and_says_so():
    found = judge(chunks(3.0, levels=[-1] * 15, samples=noise(3.0)))
    verdict = found["contract", None]
    assert verdict.logit == pytest.approx(1.0)
    assert verdict.reason == "No face was found: judged by the voice alone."
    assert set(verdict.parts) == {"audio"}
    assert verdict.frames == ()
    assert found["contract_face", None].status == "not_applicable"


def test_with_neither_face_nor_speech_nothing_is_judged_and_no_network_runs():
    session = Levels()
    found = judge(chunks(3.0, levels=[-1] * 15), session=session)
    assert {item.status for item in found.values()} == {"not_applicable"}
    assert found["contract", None].reason == "Neither a face nor speech was found."
    assert session.batches == []


@pytest.mark.parametrize(("fps", "slots"), [(2.0, 5), (5.0, 5), (8.0, 8), (10.0, 10), (25.0, 10)])
def test_any_rate_of_pictures_fits_the_windows_of_the_network(fps, slots):
    session = Levels()
    verdict = judge(chunks(3.0, fps=fps), fps=fps, session=session)["contract", 1]
    assert session.batches[0]["frame_mask"].shape[1] == slots
    filled = session.batches[0]["frame_mask"][: len(verdict.windows)].sum(axis=1)
    assert (filled >= min(fps, 8)).all()


@pytest.mark.parametrize("seconds", [0.4, 1.0, 1.4, 1.8])
def test_every_picture_of_a_short_clip_is_judged(seconds):
    verdict = judge(chunks(seconds))["contract", 1]
    assert len(verdict.frames) == round(seconds * FPS)
    assert max(window.end for window in verdict.windows) == pytest.approx(seconds)


SPEAKER = (Subject(1, 0.0, 10.0, 50, 0.7, 180.0),)


def verdict_of(found, profile=None, subjects=SPEAKER):
    used = profile or load_profile("contract-v1")
    return decide(list(found.values()), subjects, used, seed="s").decisive


def test_the_verdict_carries_agreement_contribution_and_rests_on_the_network_alone():
    found = judge(chunks(10.0, [50] * 50, samples=noise(10.0, 0.2)))
    verdict = verdict_of(found)
    assert verdict.score == pytest.approx(float(sigmoid(3.5)))
    assert verdict.shares == {"contract": 1.0}
    assert verdict.contribution == pytest.approx({"visual": 1.0 / 3.5, "audio": 2.5 / 3.5})
    assert verdict.agreement == pytest.approx(1 - float(sigmoid(DISAGREEMENT)))
    assert verdict.interval.widened_for == ()


def test_calibration_moves_the_score_and_contributions_still_sum_to_it():
    raw = load_profile("contract-v1").model_dump()
    raw["detectors"][0]["calibration"] = {"temperature": 2.0, "bias": -0.5}
    fitted = Profile.model_validate(raw)
    verdict = verdict_of(judge(chunks(10.0, [50] * 50, samples=noise(10.0, 0.2))), fitted)
    assert verdict.score == pytest.approx(float(sigmoid(3.5 / 2 - 0.5)))
    parts = {"visual": 1.0 / 2 - 0.25, "audio": 2.5 / 2 - 0.25}
    assert verdict.contribution == pytest.approx(
        {name: part / sum(parts.values()) for name, part in parts.items()}
    )


def test_a_missing_modality_widens_the_interval():
    levels = [50] * 50
    both = verdict_of(judge(chunks(10.0, levels, samples=noise(10.0, 0.1))))
    alone = verdict_of(judge(chunks(10.0, levels)))
    assert alone.interval.widened_for == ("The voice could not be judged",)
    assert alone.interval.high - alone.interval.low > both.interval.high - both.interval.low + 0.2


def test_nobody_on_screen_rests_the_verdict_on_the_voice():
    found = judge(chunks(10.0, levels=[-1] * 50, samples=noise(10.0, 0.3)))
    verdict = verdict_of(found, subjects=())
    assert verdict.subject is None
    assert verdict.score == pytest.approx(float(sigmoid(3.0)))
    assert verdict.contribution == {"audio": 1.0}
    assert "The face could not be judged" in verdict.interval.widened_for
