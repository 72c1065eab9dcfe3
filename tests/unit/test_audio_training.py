"""The voice training: nothing but the synthesis may tell the two kinds apart."""

from __future__ import annotations

import numpy as np
import pytest
from talking import syllables, voice

pytest.importorskip("sklearn")
pytest.importorskip("onnx")

from aura.errors import UsageError
from aura.training.audio.baselines import gmm_scores, lfcc, trivial
from aura.training.audio.evaluate import held_out
from aura.training.audio.fit import REAL, Sounds, fit, folds_of_voices, load, weights
from aura.training.audio.prepare import CLEAN, WORN, worn
from aura.training.audio.remake import remake
from aura.training.audio.sounds import FAMILIES, Recording, family_of, voice_of
from aura.training.linear import Network

CONFIG = {
    "inverse_regularisation": 0.1,
    "limit": 3.0,
    "remade_share": 0.4,
    "unpaired_fake_weight": 0.5,
    "worn_weight": 0.1,
}


def spoken(seconds: float = 3.0, seed: int = 5) -> np.ndarray:
    return voice(syllables(seconds, seed=seed), seed=seed)


def sounds(groups: int = 24, *, planted: float = 2.0, channel: float = 5.0) -> Sounds:
    """A real one and two fakes a group, by two families; every group has a channel of its own."""
    random = np.random.default_rng(0)
    rows, family = [], []
    for _ in range(groups):
        base = random.normal(0, channel, 6) * [0, 1, 1, 1, 1, 1]
        for kind in (REAL, 0, 1):
            rows.append(base + random.normal(0, 1, 6) + [planted * (kind != REAL), 0, 0, 0, 0, 0])
            family.append(kind)
    count = len(rows)
    names = np.repeat([f"g{index}" for index in range(groups)], 3)
    return Sounds(
        np.array(rows),
        np.arange(count),
        np.full(count, CLEAN),
        (np.array(family) != REAL).astype(np.int64),
        np.array(family),
        np.zeros(count, np.bool_),
        names,
        names,
        np.full(count, "page"),
    )


def recording(voice_name: str, index: int = 0) -> Recording:
    return Recording(f"{index}.flac", None, False, voice_name, f"g{index}", "page", "none")


@pytest.mark.parametrize("method", ["smooth", "mel", "phase", "lpc"])
def test_a_remade_recording_keeps_length_level_and_timing(method: str) -> None:
    own = spoken()
    made = remake(own, method, np.random.default_rng(1))
    assert made.shape == own.shape
    assert np.mean(made**2) == pytest.approx(np.mean(own**2), rel=0.05)
    assert not np.allclose(made, own, atol=0.02)
    loudness = [np.sqrt(np.mean(one[:47_680].reshape(-1, 320) ** 2, axis=1)) for one in (own, made)]
    assert np.corrcoef(*loudness)[0, 1] > 0.9


def test_wear_is_the_same_for_equal_chance_and_keeps_place_and_length() -> None:
    own = spoken()
    for seed in range(6):
        one, two = (worn(own, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(one, two)
        assert one.shape == own.shape
        near = np.correlate(one[8000:40000], own[8200:39800], "valid")
        assert abs(int(np.abs(near).argmax()) - 200) <= 16  # 1 ms


def test_one_speaker_under_several_names_is_one_voice() -> None:
    assert voice_of("umg-eng_ood_noisy-121_121726_000004_000003") == voice_of("ls-121")
    assert voice_of("umg-eng_ood_reverberated-3") == voice_of("umg-eng_ood_unseen_clean-3")
    assert voice_of("umg-eng_seen_single-LJ021-0045") == voice_of("LJSpeech") == "LJSpeech"
    assert voice_of("ls-1998") != voice_of("ls-2033")
    with pytest.raises(UsageError, match="belongs to no family"):
        family_of("a-new-one")


def test_folds_keep_voices_whole_and_are_of_like_size() -> None:
    found = [recording(f"v{index % 13}", index) for index in range(100)]
    folds = folds_of_voices(found, 4)
    assert set(folds) == {f"v{index}" for index in range(13)}
    sizes = [sum(folds[one.voice] == fold for one in found) for fold in range(4)]
    assert max(sizes) - min(sizes) <= 9


def test_every_group_weighs_as_much_real_as_fake() -> None:
    some = sounds(4)
    found = weights(some, np.ones(12, np.bool_), CONFIG)
    for group in set(some.group):
        mine = some.group == group
        assert found[mine & (some.label == 0)].sum() == pytest.approx(1.0)
        assert found[mine & (some.label == 1)].sum() == pytest.approx(1.0)
    without_real = weights(some, some.label == 1, CONFIG)
    assert without_real.sum() == pytest.approx(4 * CONFIG["unpaired_fake_weight"])
    some.condition[:] = WORN
    np.testing.assert_allclose(weights(some, np.ones(12, np.bool_), CONFIG), 0.1 * found)


def test_the_fit_finds_the_synthesis_and_not_the_channel() -> None:
    network = fit(sounds(), np.ones(72, np.bool_), CONFIG)
    assert isinstance(network, Network)
    assert network.weights[0] > 3 * np.abs(network.weights[1:]).max()
    far = np.zeros((1, 6))
    far[0, 1] = 1e6  # an outlier counts no more than the limit
    assert abs(network(far)[0] - network(np.zeros((1, 6)))[0]) <= 3 * 2 * abs(network.weights[1])


def test_every_score_comes_from_a_fit_that_saw_neither_voice_nor_family() -> None:
    some = sounds()
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def scorer(learned: np.ndarray, tested: np.ndarray) -> np.ndarray:
        seen.append((learned, tested))
        return np.zeros(int(tested.sum()))

    folds = folds_of_voices([recording(name, i) for i, name in enumerate(some.voice)], 3)
    found = held_out(some, folds, scorer)
    assert len(seen) == 3 * len(FAMILIES)
    for learned, tested in seen:
        assert not set(some.voice[learned]) & set(some.voice[tested])
        fakes = set(some.family[tested]) - {REAL}
        assert not fakes & set(some.family[learned])
    assert not np.isnan(found.scores[0][some.family == 0]).any()
    assert np.isnan(found.scores[0][some.family == 1]).all()


def test_what_was_not_prepared_is_named(tmp_path) -> None:
    with pytest.raises(UsageError, match="run the step prepare first"):
        load(tmp_path, [], (CLEAN,))


def test_baselines_tell_noise_from_a_voice_and_silence_from_sound() -> None:
    random = np.random.default_rng(2)
    noise = [random.normal(0, 0.1, 32_000).astype(np.float32) for _ in range(3)]
    voices = [lfcc(spoken(seed=seed)) for seed in (5, 6, 7)]
    hissing = [lfcc(one) for one in noise]
    scores = gmm_scores(voices[:2], hissing[:2], [voices[2], hissing[2]])
    assert scores[1] > 0 > scores[0]
    early, late = noise[0], np.concatenate([np.zeros(8000, np.float32), noise[0]])
    assert trivial(late)[4] - trivial(early)[4] == pytest.approx(0.5, abs=0.01)
