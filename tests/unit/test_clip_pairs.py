"""Self-made pairs: what each kind does, what its truth says, and that nothing cheaper tells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the train extra")

from clips import lag, loudness, made_clip, same_clip

from aura.detectors.contract_input import cut_window
from aura.errors import UsageError
from aura.metrics import auc
from aura.speech import BLOCK, SAMPLE_RATE
from aura.training.data.clip import UNKNOWN, Truth
from aura.training.pairs import KINDS, applicable, make_control, make_pair
from aura.training.pairs.resynthesis import METHODS, resynthesise
from aura.training.pairs.timing import speech_level

TRUTHS = {
    "self_blend": Truth(1, 1, 0, UNKNOWN),
    "revoice": Truth(1, 0, 1, UNKNOWN),
    "shift": Truth(1, 0, 0, 1),
    "swap": Truth(1, 0, 0, 1),
    "both": Truth(1, 1, 1, UNKNOWN),
    "partial_visual": Truth(1, 1, 0, UNKNOWN),
    "partial_audio": Truth(1, 0, 1, UNKNOWN),
}
TIMED = ("shift", "swap")


@pytest.fixture(scope="module")
def clip():
    return made_clip(6.0)


@pytest.fixture(scope="module")
def donor():
    return made_clip(8.0, seed=9, name="bert")


@pytest.fixture(scope="module")
def people():
    return [made_clip(2.6, seed=seed, name=f"p{seed}") for seed in range(8)]


def random(seed=0):
    return np.random.default_rng(seed)


def test_every_kind_has_its_truth_here():
    assert set(KINDS) == set(TRUTHS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_says_what_was_done(kind, clip, donor):
    fake, real = (
        make(kind, clip, random(4), donor, motion=False) for make in (make_pair, make_control)
    )

    assert replace(fake.truth, spans=None) == TRUTHS[kind]
    assert (fake.truth.spans is not None) == kind.startswith("partial")
    assert real.truth == clip.truth
    assert fake.row == clip.row


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes(kind, clip, donor):
    made = [make_pair(kind, clip, random(seed), donor, motion=False) for seed in (2, 2, 3, 4, 5)]

    assert same_clip(made[0], made[1])
    assert not all(same_clip(made[0], other) for other in made[2:])


@pytest.mark.parametrize("kind", KINDS)
def test_the_clip_itself_is_left_alone(kind, clip, donor):
    before = made_clip(6.0)
    make_pair(kind, clip, random(1), donor)
    make_control(kind, clip, random(1), donor)

    assert same_clip(clip, before)


@pytest.mark.parametrize("kind", KINDS)
def test_fake_and_control_are_alike_in_length_place_and_blocks(kind, clip, donor):
    for seed in range(4):
        fake, real = (
            make(kind, clip, random(seed), donor, motion=False)
            for make in (make_pair, make_control)
        )

        assert fake.span == pytest.approx(real.span)
        assert np.array_equal(fake.faces.times, real.faces.times)
        assert fake.voice.start == pytest.approx(real.voice.start)
        assert len(fake.voice.samples) == len(real.voice.samples)
        assert len(fake.voice.speech) == len(real.voice.speech)
        assert len(fake.voice.speech) == -(-len(fake.voice.samples) // BLOCK)


@pytest.mark.parametrize("kind", ["self_blend", "partial_visual", "both"])
def test_a_blend_changes_the_face_and_recomputes_its_motion(kind, clip):
    fake = make_pair(kind, clip, random(5))

    assert not np.array_equal(fake.faces.crops, clip.faces.crops)
    assert not np.array_equal(fake.faces.motion, clip.faces.motion)
    assert np.isfinite(fake.faces.motion).all()


def test_a_self_blend_leaves_what_the_mask_does_not_reach_alike_in_all_pictures(clip):
    still = replace(clip, faces=clip.faces._replace(crops=np.repeat(clip.faces.crops[:1], 30, 0)))
    corners = [
        make_pair("self_blend", still, random(seed), motion=False).faces.crops[:, :12, :12]
        for seed in range(12)
    ]

    # Where the surround is the clip's own (some blends move it) it stands as still as before.
    steady = [part for part in corners if not np.diff(part.astype(int), axis=0).any()]
    assert len(steady) >= 4


def test_a_control_of_a_blend_is_one_picture_without_a_step(clip):
    # Each control is the moved face everywhere or nowhere: never a mixture of two.
    for seed in range(6):
        real = make_control("self_blend", clip, random(seed), motion=False)
        fake = make_pair("self_blend", clip, random(seed), motion=False)
        assert real.faces.crops.shape == fake.faces.crops.shape
        assert not np.array_equal(real.faces.crops, fake.faces.crops)


def test_a_part_of_the_pictures_is_blended_where_the_span_says(clip):
    for seed in range(8):
        fake = make_pair("partial_visual", clip, random(seed), motion=False)
        (span,) = fake.truth.spans
        times = clip.faces.times
        inside = (times >= span.start - 1e-6) & (times < span.end - 1e-6)
        differs = np.array(
            [
                not np.array_equal(a, b)
                for a, b in zip(fake.faces.crops, clip.faces.crops, strict=True)
            ]
        )

        assert span.modality == "visual"
        assert 0.4 <= span.end - span.start <= 3.2
        assert np.array_equal(differs, inside)
        assert fake.truth.within("visual", span.start, span.start + 0.2) == 1
        assert not inside.all()


def test_a_part_of_the_sound_is_revoiced_where_the_span_says_without_a_click(clip):
    for seed in range(5):
        fake = make_pair("partial_audio", clip, random(seed))
        real = make_control("partial_audio", clip, random(seed))
        (span,) = fake.truth.spans
        time = np.arange(len(clip.voice.samples)) / SAMPLE_RATE
        inside = (time >= span.start) & (time < span.end)

        def unlike(where, fake=fake, seed=seed):
            a, b = fake.voice.samples[where], clip.voice.samples[where]
            return 1 - abs(float(np.corrcoef(a, b)[0, 1]))

        assert span.modality == "audio"
        assert 0.5 <= span.end - span.start <= 3.0
        assert unlike(inside) > 3 * unlike(~inside)
        # No step at the edges that is higher than those of speech.
        steps = np.abs(np.diff(fake.voice.samples))
        for edge in (span.start, span.end):
            at = round(edge * SAMPLE_RATE)
            assert (
                steps[max(0, at - 4) : at + 4].max()
                <= np.abs(np.diff(real.voice.samples)).max() * 2
            )


def test_shifted_sound_is_the_own_sound_a_quarter_to_a_second_away(clip):
    late = set()
    for seed in range(10):
        fake = make_pair("shift", clip, random(seed))
        length = len(fake.voice.samples)
        place = next(
            at
            for at in range(len(clip.voice.samples) - length + 1)
            if np.array_equal(clip.voice.samples[at : at + 64], fake.voice.samples[:64])
        )
        moved = fake.voice.start - (clip.voice.start + place / SAMPLE_RATE)

        assert np.array_equal(clip.voice.samples[place : place + length], fake.voice.samples)
        assert 0.25 <= abs(moved) <= 1.0
        assert fake.span[1] - fake.span[0] == pytest.approx(6.0 - abs(moved), abs=0.04)
        assert len(fake.voice.samples) / SAMPLE_RATE >= fake.span[1] - fake.span[0] - 0.04
        late.add(moved > 0)
    assert late == {True, False}


def test_the_control_of_a_shift_is_cut_and_nothing_else(clip):
    real = make_control("shift", clip, random(3))
    at = round(real.voice.start * SAMPLE_RATE)

    assert np.array_equal(real.voice.samples, clip.voice.samples[at : at + len(real.voice.samples)])
    assert len(real.faces.times) < len(clip.faces.times)


def test_every_window_of_a_shifted_clip_has_sound_as_those_of_its_control_have(clip):
    for seed in range(6):
        pair = [make("shift", clip, random(seed)) for make in (make_pair, make_control)]
        start, end = pair[0].span
        for begin in np.arange(start, end - 1.0, 0.5):
            fake, real = (
                cut_window(one.faces, one.voice, float(begin), 1.0, one.fps) for one in pair
            )
            assert np.array_equal(fake.frame_mask, real.frame_mask)
            assert fake.speech_mask.any()


def test_a_swapped_voice_is_the_donors_at_the_level_of_the_own(clip, donor):
    for seed in range(5):
        fake, real = (make("swap", clip, random(seed), donor) for make in (make_pair, make_control))
        length = len(fake.voice.samples)
        best = max(
            abs(float(np.corrcoef(donor.voice.samples[at : at + length], fake.voice.samples)[0, 1]))
            for at in range(0, len(donor.voice.samples) - length + 1, BLOCK)
        )

        assert best > 0.999
        assert speech_level(fake.voice) == pytest.approx(speech_level(real.voice), rel=1e-3)
        both = (fake.voice.speech >= 0.5) & (real.voice.speech >= 0.5)
        assert both.sum() >= 0.5 * (real.voice.speech >= 0.5).sum()


def test_nobody_speaks_for_himself_and_a_donor_must_speak(clip, donor):
    twin = replace(clip, row=replace(clip.row, path="other.mp4"))
    mute = made_clip(6.0, seed=4, name="carl", sound=False)

    assert applicable("swap", clip)
    assert applicable("swap", clip, donor)
    for useless in (twin, clip, mute):
        assert not applicable("swap", clip, useless)
        with pytest.raises(UsageError, match="swap"):
            make_pair("swap", clip, random(), useless)
    with pytest.raises(UsageError, match="donor"):
        make_pair("swap", clip, random())


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_say_what_they_cannot_be_made_of(kind, clip, donor):
    mute, faceless = made_clip(4.0, sound=False), made_clip(4.0, faces=False)
    short = made_clip(0.4)
    fake = replace(clip, truth=Truth(1))
    needs_sound, needs_faces = kind not in ("self_blend", "partial_visual"), "audio" not in kind

    assert applicable(kind, clip, donor)
    assert applicable(kind, mute, donor) == (not needs_sound)
    assert applicable(kind, faceless, donor) == (not needs_faces or kind == "revoice")
    assert not applicable(kind, short, donor)
    assert not applicable(kind, fake, donor)
    with pytest.raises(UsageError, match=r"anna\.mp4"):
        make_pair(kind, fake, random(), donor)


def test_an_unknown_kind_is_told_with_those_there_are(clip):
    with pytest.raises(UsageError, match="self_blend"):
        applicable("faceswap", clip)


@pytest.mark.parametrize("method", METHODS)
def test_resynthesis_keeps_length_timing_and_words_but_not_the_samples(method, clip):
    if method == "world":
        pytest.importorskip("pyworld", reason="needs the train extra")
    own = clip.voice.samples[: 3 * SAMPLE_RATE].astype(np.float64)
    for seed in range(3):
        made = resynthesise(own, random(seed), method)
        a, b = loudness(own), loudness(made)

        assert made.shape == own.shape
        assert np.isfinite(made).all()
        assert abs(lag(a, b)) <= 0.01 * SAMPLE_RATE
        assert np.corrcoef(a, b)[0, 1] > 0.85
        assert abs(np.corrcoef(own, made)[0, 1]) < 0.97
        assert np.array_equal(made, resynthesise(own, random(seed), method))


def test_resynthesis_bears_silence():
    for method in METHODS:
        made = resynthesise(np.zeros(8000), random(1), method)
        assert np.isfinite(made).all()
        assert np.abs(made).max() < 0.01


# --- shortcuts: no single cheap measure of the sound or the picture tells fake from control


def cheap_sound(clip):
    samples = clip.voice.samples.astype(float)
    power = np.abs(np.fft.rfft(samples)) ** 2
    share = np.cumsum(power) / power.sum()
    frequency = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return {
        "level": samples.std(),
        "speech level": speech_level(clip.voice),
        "peak": np.abs(samples).max(),
        "band": frequency[np.searchsorted(share, 0.99)],
        "bass": power[frequency < 70].sum() / power.sum(),
        "silence": float((np.abs(samples) < 1e-4).mean()),
        "length": len(samples),
        "speech": float((clip.voice.speech >= 0.5).mean()),
    }


def cheap_picture(clip):
    grey = clip.faces.crops.astype(np.float32).mean(axis=-1)
    detail = np.abs(np.diff(grey, axis=2))
    return {
        "brightness": grey.mean(),
        "contrast": grey.std(),
        "flicker": np.abs(np.diff(grey, axis=0)).mean(),
        "sharpness": detail.mean(),
        "sharpness within": detail[:, 70:160, 70:150].mean(),
        "sharpness around": detail[:, :, :30].mean(),
        "pictures": len(grey),
    }


# `both` is self_blend and revoice, each tried by itself.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "both"])
def test_no_cheap_measure_tells_fakes_from_controls(kind, people):
    measure = cheap_picture if kind in ("self_blend", "partial_visual") else cheap_sound
    rows: dict[int, list[dict[str, float]]] = {0: [], 1: []}
    for index, clip in enumerate(people):
        donor = people[(index + 1) % len(people)]
        for seed in range(6):
            # Independent draws: in training, too, a fake's own control need not be near.
            rows[1].append(
                measure(make_pair(kind, clip, random([index, seed]), donor, motion=False))
            )
            rows[0].append(
                measure(make_control(kind, clip, random([index, seed, 1]), donor, motion=False))
            )
    labels = [0] * len(rows[0]) + [1] * len(rows[1])
    for name in rows[0][0]:
        values = [row[name] for row in rows[0] + rows[1]]
        # 48 against 48: chance alone spreads an AUC by .06.
        assert abs(auc(labels, values) - 0.5) < 0.2, name
