"""Perturbations: worse with each level, the same each time, and nothing moves in time."""

from __future__ import annotations

import numpy as np
import pytest

import media_factory as make
from aura import media
from aura.errors import InputError, UsageError
from aura.evaluation.perturbations import LEVELS, PERTURBATIONS, SAMPLE_RATE
from aura.evaluation.recode import recoded_pictures
from aura.evaluation.robustness import chosen, options_of, treatment

PICTURES = [one for one in PERTURBATIONS.values() if one.picture is not None]
SOUNDS = [one for one in PERTURBATIONS.values() if one.sound is not None]


def picture(side=256):
    """Smooth colours with edges and a fine grain."""
    y, x = np.mgrid[0:side, 0:side] / side
    base = np.stack([0.5 + 0.3 * np.sin(7 * x), 0.4 + 0.3 * y, 0.5 + 0.3 * np.cos(9 * x * y)], -1)
    base[60:120, 60:120] *= 0.4
    grain = np.random.default_rng(0).normal(0, 0.03, base.shape)
    return (np.clip(base + grain, 0, 1) * 255).astype(np.uint8)


def speech(seconds=2.0):
    """Bursts of a buzzing tone with pauses."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * 120 * k * time + k) / k for k in range(1, 25))
    return (0.1 * buzz * (np.sin(2 * np.pi * 2.3 * time) > -0.2)).astype(np.float32)


@pytest.mark.parametrize("one", PICTURES, ids=lambda one: one.name)
def test_each_level_takes_a_picture_further_from_itself(one):
    clean = picture()
    errors = []
    for level in LEVELS:
        changed = one.picture(clean, one.parameters[level - 1], np.random.default_rng(level))
        assert changed.shape == clean.shape
        assert changed.dtype == np.uint8
        errors.append(np.square(changed.astype(float) - clean).mean())
    assert errors == sorted(errors)
    assert errors[0] > 0.5
    assert errors[-1] > 1.3 * errors[0]


def test_the_published_parameters_mean_what_they_say():
    clean, random = picture(), np.random.default_rng(0)
    grey = PERTURBATIONS["saturation"].picture(clean, 0.0, random)
    assert np.abs(grey.astype(int) - grey.mean(axis=-1, keepdims=True)).max() <= 2
    dim = PERTURBATIONS["contrast"].picture(clean, 0.35, random)
    assert dim.mean() == pytest.approx(0.35 * clean.mean(), abs=1)
    blocks = PERTURBATIONS["blocks"].picture(clean, 16, random)
    changed = (blocks != clean).any(axis=-1).sum()
    assert 0.7 * 16 * 64 < changed <= 16 * 64
    flat = np.full((256, 256, 3), 128, np.uint8)
    noisy = PERTURBATIONS["noise"].picture(flat, 0.005, random).astype(float)
    luma = noisy @ [0.299, 0.587, 0.114]
    assert luma.std() == pytest.approx(255 * np.sqrt(0.005) * 255 / 219, rel=0.05)


def test_a_small_picture_gets_blocks_too():
    tiny = picture(64)
    changed = PERTURBATIONS["blocks"].picture(tiny, 16, np.random.default_rng(0))
    assert (changed != tiny).any()


@pytest.mark.parametrize("one", SOUNDS, ids=lambda one: one.name)
def test_each_level_takes_sound_further_from_itself_and_moves_nothing(one):
    clean = speech()
    errors = []
    for level in LEVELS:
        changed = one.sound(clean, one.parameters[level - 1], np.random.default_rng(0))
        assert changed.shape == clean.shape
        assert changed.dtype == np.float32
        assert np.abs(changed).max() <= 1
        errors.append(np.square(changed - clean).mean())
        size = 1 << 17
        spectrum = np.fft.rfft(changed, size) * np.conj(np.fft.rfft(clean, size))
        lag = int(np.argmax(np.fft.irfft(spectrum, size)))
        assert min(lag, size - lag) <= 8  # half a millisecond
    assert errors[0] > 0
    if one.name != "sound-room":  # whose echo is as strong at all levels, and longer
        assert errors[-1] > 1.3 * errors[0]
    if one.name not in {"sound-room", "sound-opus"}:  # whose modes change with the rate
        assert errors == sorted(errors)


def test_a_larger_room_fills_the_pauses():
    clean = speech()
    pauses = np.abs(clean) == 0
    room = PERTURBATIONS["sound-room"]
    filled = [
        float(np.square(room.sound(clean, seconds, np.random.default_rng(0))[pauses]).mean())
        for seconds in room.parameters
    ]
    assert filled == sorted(filled)
    assert filled[-1] > 2 * filled[0] > 0


def test_noise_has_the_stated_ratio():
    clean = speech()
    changed = PERTURBATIONS["sound-noise"].sound(clean, 15, np.random.default_rng(0))
    ratio = 10 * np.log10(np.square(clean).mean() / np.square(changed - clean).mean())
    assert ratio == pytest.approx(15, abs=0.2)


def test_a_room_rings_as_long_as_it_says():
    click = np.zeros(2 * SAMPLE_RATE, np.float32)
    click[0] = 0.5
    rung = PERTURBATIONS["sound-room"].sound(click, 0.7, np.random.default_rng(0))
    left = np.cumsum(np.square(rung[::-1], dtype=float))[::-1]
    level = 10 * np.log10(left / left[1] + 1e-12)
    # From -5 to -25 dB, a third of the way to -60 (ISO 3382).
    start, end = np.argmax(level[1:] < -5), np.argmax(level[1:] < -25)
    assert 3 * (end - start) / SAMPLE_RATE == pytest.approx(0.7, rel=0.15)


@pytest.mark.parametrize("one", SOUNDS, ids=lambda one: one.name)
def test_silence_and_no_sound_stay_what_they_are(one):
    silence = np.zeros(SAMPLE_RATE, np.float32)
    for samples in (silence, silence[:0]):
        changed = one.sound(samples, one.parameters[-1], np.random.default_rng(0))
        assert len(changed) == len(samples)
        assert np.abs(changed).max(initial=0) < 1e-3


def test_names_groups_and_levels_are_read_and_wrong_ones_refused():
    assert chosen("blur", "2") == [("control", 0), ("blur", 2)]
    assert len(chosen("video", "1,2,3,4,5")) == 1 + 8 * 5
    assert ("control", 0) not in chosen("sound", "1")
    assert len(chosen("all", "1")) == 13
    for names, levels in (("fog", "1"), ("blur", "6"), ("blur", "x"), ("blur", "")):
        with pytest.raises(UsageError):
            chosen(names, levels)


def test_settings_are_told_in_words():
    assert options_of("compression", 5)["setting"] == "H.264 at CRF 40"
    assert options_of("sound-opus", 1) == {
        "robustness": "sound-opus",
        "level": 1,
        "setting": "Opus at 24 kb/s",
    }


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make.write_clip(
        path, make.moving_texture(50, 320, 240), audio=make.Sound(make.tone(2.0))
    )


def decoded(path):
    info = media.probe(path)
    items = list(media.decode(info))
    frames = [one for one in items if isinstance(one, media.Frame) and one.rgb is not None]
    sound = [one.samples for one in items if not isinstance(one, media.Frame)]
    return info, frames, np.concatenate(sound) if sound else np.zeros(0, np.float32)


def similarity(one, other):
    return np.mean(
        [np.square(a.rgb.astype(float) - b.rgb).mean() for a, b in zip(one, other, strict=True)]
    )


def test_a_copy_with_changed_pictures_keeps_times_and_sound(clip, tmp_path):
    _, frames, sound = decoded(clip)
    errors = {}
    for name, level in (("control", 0), ("blur", 3), ("compression", 5)):
        _, copied, heard = decoded(treatment(name, level)(clip, tmp_path))
        assert [one.time for one in copied] == pytest.approx([one.time for one in frames])
        size = min(len(heard), len(sound))
        assert size > 1.8 * SAMPLE_RATE
        assert np.corrcoef(heard[4000 : size - 4000], sound[4000 : size - 4000])[0, 1] > 0.99
        errors[name] = similarity(copied, frames)
    assert errors["control"] < 0.2 * errors["blur"]
    assert errors["control"] < 0.2 * errors["compression"]


def test_a_copy_with_changed_sound_keeps_the_pictures_bit_for_bit(clip, tmp_path):
    _, frames, sound = decoded(clip)
    _, copied, heard = decoded(treatment("sound-noise", 5)(clip, tmp_path))
    assert similarity(copied, frames) == 0
    assert [one.time for one in copied] == pytest.approx([one.time for one in frames])
    size = min(len(heard), len(sound))
    noise = heard[:size] - sound[:size]
    ratio = 10 * np.log10(np.square(sound[:size]).mean() / np.square(noise).mean())
    assert ratio == pytest.approx(5, abs=1)


def test_the_same_clip_gets_the_same_damage(clip, tmp_path):
    copies = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        copies.append(decoded(treatment("noise", 4)(clip, tmp_path / folder))[1])
    assert similarity(*copies) == 0


def test_a_clip_without_sound_has_none_to_perturb(tmp_path):
    silent = make.write_clip(tmp_path / "silent.mp4", make.moving_texture(10, 160, 120))
    with pytest.raises(InputError, match="no sound"):
        treatment("sound-room", 1)(silent, tmp_path)


def test_a_turned_clip_comes_out_upright(tmp_path):
    turned = make.write_clip(tmp_path / "t.mp4", make.moving_texture(12, 320, 240), rotation=90)
    before, frames, _ = decoded(turned)
    after, copied, _ = decoded(treatment("control", 0)(turned, tmp_path))
    assert (after.video.width, after.video.height) == (before.video.width, before.video.height)
    assert similarity(copied, frames) < 60


def test_pictures_in_memory_keep_their_number_and_lose_detail():
    pictures = np.stack([np.roll(picture(224), 2 * i, axis=1) for i in range(8)])
    errors = []
    for crf in (10, 40):
        changed = recoded_pictures(pictures, 5.0, crf)
        assert changed.shape == pictures.shape
        errors.append(np.square(changed.astype(float) - pictures).mean())
    assert errors[1] > 1.5 * errors[0]
