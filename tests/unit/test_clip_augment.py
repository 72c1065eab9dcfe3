"""Augmentation of clips: what may change, what must not, and that chance comes from one place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the train extra")

from clips import lag, loudness, made_clip, same_clip

from aura.detectors.contract_motion import motion_values
from aura.errors import UsageError
from aura.speech import SAMPLE_RATE
from aura.training.augment import augment
from aura.training.augment.codecs import NAMES, through_codec
from aura.training.augment.cutting import part_of, refresh_motion
from aura.training.augment.reencode import CODECS, reencode
from aura.training.augment.retime import shifted_pitch
from aura.training.augment.sound import (
    LARGEST_DRIFT,
    band_limited,
    in_a_room,
    level,
    treat_sound,
    uneven_clock,
    with_noise,
)
from aura.training.augment.track import TrackTreatment
from aura.training.data.clip import Span, Truth

MILLISECOND = SAMPLE_RATE // 1000
CODEC_OPTIONS = {
    "h264": ({"crf": "30", "preset": "veryfast"}, None),
    "hevc": ({"crf": "30", "preset": "ultrafast"}, None),
    "mpeg4": ({"qmin": "8", "qmax": "8"}, None),
    "vp8": ({"crf": "35", "deadline": "good", "cpu-used": "5"}, 4_000_000),
}


@pytest.fixture(scope="module")
def clip():
    return made_clip(3.0)


@pytest.fixture(scope="module")
def voice(clip):
    return clip.voice.samples


def random(seed=0):
    return np.random.default_rng(seed)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(clip):
    made = [augment(clip, random(seed)) for seed in (1, 1, 2)]

    assert same_clip(made[0], made[1])
    assert not np.array_equal(made[0].faces.crops, made[2].faces.crops)
    assert not np.array_equal(made[0].voice.samples, made[2].voice.samples)


def test_times_lengths_speech_and_truth_stay_whatever_is_drawn(clip):
    fake = replace(clip, truth=Truth(1, 1, 0, -1, (Span("visual", 1.0, 2.0),)))
    for seed in range(12):
        done = augment(fake, random(seed), motion=False)

        assert np.array_equal(done.faces.times, clip.faces.times)
        assert done.faces.crops.shape == clip.faces.crops.shape
        assert done.faces.crops.dtype == np.uint8
        assert done.voice.samples.shape == clip.voice.samples.shape
        assert done.voice.samples.dtype == np.float32
        assert np.abs(done.voice.samples).max() <= 1.0
        assert np.array_equal(done.voice.speech, clip.voice.speech)
        assert done.truth == fake.truth


def test_the_treatment_does_not_look_at_the_label(clip):
    real, fake = (replace(clip, truth=Truth(label)) for label in (0, 1))

    assert np.array_equal(
        augment(real, random(5)).faces.crops, augment(fake, random(5)).faces.crops
    )
    assert np.array_equal(
        augment(real, random(5)).voice.samples, augment(fake, random(5)).voice.samples
    )


def test_strength_zero_changes_nothing_and_nonsense_is_refused(clip):
    assert augment(clip, random(), 0.0) is clip
    with pytest.raises(UsageError, match="strength"):
        augment(clip, random(), 1.5)


def test_clips_without_sound_or_without_faces_are_treated_too():
    mute, faceless = made_clip(2.0, sound=False), made_clip(2.0, faces=False)

    assert not np.array_equal(augment(mute, random(1)).faces.crops, mute.faces.crops)
    assert not np.array_equal(augment(faceless, random(1)).voice.samples, faceless.voice.samples)


def test_landmarks_stay_on_the_eyes_after_flips_and_turns(clip):
    flips = 0
    for seed in range(30):
        treat = TrackTreatment(random(seed), 1.0, 224)
        crops, landmarks = treat(clip.faces.crops[:1], clip.landmarks[:1])
        flips += treat.flip
        grey = crops[0].astype(float).mean(axis=-1)
        for x, y in landmarks[0, :3].round().astype(int):
            around = grey[max(0, y - 16) : y + 17, max(0, x - 16) : x + 17]
            # Eyes and nose are the dark dots of the drawing.
            assert grey[y - 1 : y + 2, x - 1 : x + 2].mean() < np.median(around)
        # The right eye is on the left of the picture, mirrored or not.
        assert landmarks[0, 0, 0] < landmarks[0, 1, 0]
        assert landmarks[0, 3, 0] < landmarks[0, 4, 0]
    assert 5 < flips < 25


def test_one_draw_serves_the_whole_track():
    still = made_clip(2.0, sound=False)
    still = replace(
        still, faces=still.faces._replace(crops=np.repeat(still.faces.crops[:1], 10, 0))
    )
    for seed in range(8):
        treat = TrackTreatment(random(seed), 1.0, 224)
        treat._noise = None  # noise is each picture's own
        crops, _ = treat(still.faces.crops, still.landmarks)
        steps = np.abs(np.diff(crops.astype(float), axis=0)).mean()
        moved = np.abs(crops.astype(float) - still.faces.crops).mean()

        assert steps < 0.25 * moved + 2.0  # an encoder's own flicker


def test_motion_values_belong_to_the_new_pictures(clip):
    done = augment(clip, random(3))
    fresh = motion_values(done.faces.crops, np.ones(len(clip.faces.times), bool), clip.faces.times)

    assert np.array_equal(done.faces.motion[1:], fresh[1:])
    assert not np.array_equal(done.faces.motion, clip.faces.motion)
    assert np.array_equal(augment(clip, random(3), motion=False).faces.motion, clip.faces.motion)
    assert same_clip(refresh_motion(augment(clip, random(3), motion=False)), done)


@pytest.mark.parametrize("codec", CODECS)
def test_real_encoders_lose_detail_keep_the_count_and_repeat_themselves(clip, codec):
    options, bit_rate = CODEC_OPTIONS[codec]
    # A face that wanders to the right: each picture is unlike its neighbours.
    pictures = [np.roll(clip.faces.crops[0], 5 * index, axis=1) for index in range(14)]
    once = reencode(pictures, codec, options, bit_rate)
    again = reencode(pictures, codec, options, bit_rate)

    assert len(once) == len(pictures)
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))
    errors = [np.square(a.astype(float) - b).mean() for a, b in zip(once, pictures, strict=True)]
    assert 3.0 < np.mean(errors) < 400.0
    for index, picture in enumerate(once):
        distances = [np.abs(picture.astype(float) - other).mean() for other in pictures]
        assert int(np.argmin(distances)) == index


def test_encoders_refuse_what_they_cannot_do(clip):
    with pytest.raises(UsageError, match="even"):
        reencode([clip.faces.crops[0][:223]], "h264", {})
    with pytest.raises(UsageError, match="no codec"):
        reencode([clip.faces.crops[0]], "cinepak", {})


@pytest.mark.parametrize("codec", NAMES)
@pytest.mark.parametrize("bit_rate", [12_000, 32_000, 64_000])
def test_codecs_keep_the_sound_in_its_place_to_a_millisecond(voice, codec, bit_rate):
    coded = through_codec(voice, codec, bit_rate)

    assert coded.shape == voice.shape
    assert abs(lag(voice, coded)) <= MILLISECOND
    assert abs(lag(voice[-SAMPLE_RATE:], coded[-SAMPLE_RATE:])) <= MILLISECOND
    assert not np.array_equal(coded, voice)
    # The end is there too: no flush was forgotten.
    assert level(coded[-8000:]) == pytest.approx(level(voice[-8000:]), rel=0.3)


def test_rooms_noise_and_filters_delay_nothing(voice):
    for seed in range(4):
        for heard in (
            in_a_room(voice, random(seed)),
            with_noise(voice, 10.0, 1.0, random(seed)),
            band_limited(voice, 200.0, 3400.0),
        ):
            assert heard.shape == voice.shape
            assert abs(lag(voice, heard)) <= MILLISECOND


def test_noise_comes_at_its_level(voice):
    for decibels in (5.0, 20.0):
        noise = with_noise(voice, decibels, 1.0, random()) - voice
        assert 20 * np.log10(level(voice) / level(noise)) == pytest.approx(decibels, abs=0.1)


def test_an_uneven_clock_stays_below_what_people_notice(voice):
    moved = 0
    for seed in range(6):
        heard = uneven_clock(voice, random(seed))
        assert heard.shape == voice.shape
        moved += not np.array_equal(heard, voice)
        for begin in range(0, len(voice) - SAMPLE_RATE, SAMPLE_RATE // 2):
            part = slice(begin, begin + SAMPLE_RATE)
            delay = lag(loudness(voice[part]), loudness(heard[part]))
            # A window's mean drift, and the reach of the splices.
            assert abs(delay) <= (LARGEST_DRIFT + 0.01) * SAMPLE_RATE
    assert moved == 6


@pytest.mark.parametrize("factor", [0.9, 1.12])
def test_pitch_moves_and_time_does_not(voice, factor):
    def pitch(samples):
        window = samples[4000:12000]
        autocorrelation = np.correlate(window, window, "full")[len(window) - 1 :]
        shortest = SAMPLE_RATE // 300
        return SAMPLE_RATE / (shortest + int(np.argmax(autocorrelation[shortest:400])))

    higher = shifted_pitch(voice, factor)

    assert higher.shape == voice.shape
    assert pitch(higher) / pitch(voice) == pytest.approx(factor, rel=0.03)
    assert abs(lag(loudness(voice), loudness(higher))) <= 8 * MILLISECOND


def test_treated_sound_stays_in_time_on_the_whole(voice):
    for seed in range(20):
        heard = treat_sound(voice, random(seed), 1.0)
        delay = lag(loudness(voice), loudness(heard))
        assert abs(delay) <= LARGEST_DRIFT * SAMPLE_RATE


def test_a_part_of_a_clip_keeps_its_clock_its_blocks_and_its_own_truth(clip):
    fake = replace(clip, truth=Truth(1, 0, 1, -1, (Span("audio", 2.0, 2.5),)))
    before, after = part_of(fake, 0.5, 1.5), part_of(fake, 1.5, 3.0)

    assert np.array_equal(before.faces.times, clip.faces.times[3:8])
    assert before.voice.start <= 0.5
    first = round(before.voice.start * SAMPLE_RATE)
    assert first % 512 == 0
    length = len(before.voice.samples)
    assert np.array_equal(before.voice.samples, clip.voice.samples[first : first + length])
    assert length >= SAMPLE_RATE
    assert len(before.voice.speech) == -(-length // 512)
    assert (before.truth.label, before.truth.audio) == (0, 0)
    assert (after.truth.label, after.truth.audio) == (1, 1)
    with pytest.raises(UsageError):
        part_of(clip, 2.0, 2.0)
