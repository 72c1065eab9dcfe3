"""The comparison of fusions: who is held out from whom, what is paired, and the talking photos."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from clips import made_voice

from aura.errors import UsageError
from aura.training.contract import study
from aura.training.contract.study import Plan, Study, folds
from aura.training.contract.talkers import MOUTH, Talkers
from aura.training.data.manifest import Row
from aura.training.data.prepared import open_prepared
from made_clips import MadeClips, made_rows, seeing_config, write_set

if TYPE_CHECKING:
    from pathlib import Path


def test_nobody_is_in_two_folds_and_speech_is_dealt_evenly() -> None:
    rows = [Row(f"{i}.mp4", "real", group=f"g{i // 2}") for i in range(24)]
    speech = [float(1 + i // 2) for i in range(24)]
    dealt = folds(rows, speech, range(20), count=5)
    assert sorted(i for fold in dealt for i in fold) == list(range(20))
    groups = [{rows[i].group for i in fold} for fold in dealt]
    assert all(not a & b for n, a in enumerate(groups) for b in groups[:n])
    sums = [sum(speech[i] for i in fold) for fold in dealt]
    assert max(sums) == min(sums)


def test_fewer_people_than_folds_are_refused() -> None:
    rows = [Row(f"{i}.mp4", "real", group="one") for i in range(9)]
    with pytest.raises(UsageError, match="1 people"):
        folds(rows, [1.0] * 9, range(9))


def made_scores(better: float) -> study._Clips:
    """Sixty people; cross-attention tells their fakes apart by so much more than concatenation."""
    random = np.random.default_rng(0)
    labels = np.tile([0, 1], 60)
    noise = random.normal(0, 1, 120)
    scores = dict.fromkeys(study.FORMS, labels * 1.0 + noise)
    scores["cross-attention"] = labels * (1.0 + better) + noise
    scores["audio"] = np.full(120, np.nan)
    return study._Clips(
        np.array(["shift"] * 120),
        labels,
        np.array([f"p{i // 2}" for i in range(120)]),
        np.ones(120, bool),
        scores,
        scores,
    )


def test_a_better_fusion_shows_a_gain_and_an_equal_one_none() -> None:
    equal = study.figures(made_scores(0.0))["overall"]
    assert equal["cross-attention minus concatenation"] == [0.0, 0.0, 0.0]
    better = study.figures(made_scores(1.0))["overall"]
    value, low, high = better["cross-attention minus concatenation"]
    assert value > 0.05
    assert 0 < low < value < high
    assert better["clips"] == {"real": 60, "fake": 60}
    assert "audio" not in better  # judged nothing


def test_a_study_runs_resumes_and_holds_people_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = MadeClips(made_rows("train", 6, 1), seconds=4.0)
    clips.rows[6] = Row(path="found.mp4", label="fake", group="train-0", identity="train-0")
    write_set(tmp_path / "set", clips)
    config = seeing_config().changed(appearance={"frozen": True}, speech={"frozen_layers": 1})
    plan = Plan(epochs=1, windows_per_clip=2, draws=1, rounds=1, seeds=1, batch=8)
    said: list[str] = []
    prepared = open_prepared(tmp_path / "set")
    run = Study(prepared, config, plan, tmp_path / "out", said.append)
    found = json.loads(run.run().read_text(encoding="utf-8"))
    assert len(found["people"]) == 5
    people = [one for fold in found["people"] for one in fold]
    assert len(people) == len(set(people)) == 6
    assert {"overall", "apart", "found"} <= set(found["auc"])
    assert set(study.FORMS) <= set(found["auc"]["overall"])
    assert found["auc"]["found"]["clips"]["fake"] == 1
    parameters = found["trained_parameters"]
    assert parameters["cross-attention"] > parameters["concatenation"]

    def made_again(*_: object) -> None:
        raise AssertionError("a window was encoded twice")

    monkeypatch.setattr(study, "save_bank", made_again)
    again = json.loads(run.run().read_text(encoding="utf-8"))
    assert again == found


def made_talkers(count: int = 2) -> Talkers:
    random = np.random.default_rng(4)
    photo = np.full((224, 224, 3), 180, np.uint8)
    photo[round(float(MOUTH[1])) - 2 : round(float(MOUTH[1])) + 2, 90:134] = 90
    voices = [made_voice(3.0, random) for _ in range(count)]
    return Talkers([photo] * count, [(v.samples, v.speech) for v in voices], 10.0)


def darkness(clip: object) -> np.ndarray:
    x, y = (round(float(v)) for v in MOUTH)
    crops = clip.faces.crops.astype(float)  # type: ignore[attr-defined]
    return 255 - crops[:, y : y + 14, x - 10 : x + 10].mean(axis=(1, 2, 3))


def loudness(clip: object) -> np.ndarray:
    voice, times = clip.voice, clip.faces.times  # type: ignore[attr-defined]
    starts = (times * 16_000).astype(int)
    return np.array([np.sqrt((voice.samples[s : s + 800] ** 2).mean() + 1e-9) for s in starts])


def test_the_mouth_of_a_talking_photo_follows_its_own_voice() -> None:
    first = made_talkers().load(0)
    backwards = replace(first, voice=first.voice._replace(samples=first.voice.samples[::-1]))
    assert first.truth.label == 0
    assert len(first.faces.times) == 30
    own = np.corrcoef(darkness(first), loudness(first))[0, 1]
    foreign = np.corrcoef(darkness(first), loudness(backwards))[0, 1]
    late = np.corrcoef(darkness(first)[5:], loudness(first)[:-5])[0, 1]
    assert own > 0.6
    assert own > abs(foreign) + 0.2
    assert own > late + 0.2


def test_talking_photos_are_the_same_each_time_and_in_parts() -> None:
    whole, again = made_talkers().load(1), made_talkers().load(1)
    assert np.array_equal(whole.faces.crops, again.faces.crops)
    assert made_talkers().data_hash == made_talkers().data_hash
    part = made_talkers().load(1, (1.0, 2.0))
    assert 10 <= len(part.faces.times) <= 11
    assert np.array_equal(part.faces.crops[0], whole.faces.crops[10])
