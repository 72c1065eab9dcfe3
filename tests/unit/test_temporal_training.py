"""The motion training: nothing but the lie may tell a fake from its control."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from drawn_heads import SIDE, pattern, track, walk

pytest.importorskip("sklearn")
pytest.importorskip("onnx")

from aura.detectors.motion_traces import TRACES
from aura.runtime import open_session, read_card
from aura.training.temporal import export
from aura.training.temporal.animate import Driver, animate
from aura.training.temporal.evaluate import by_item, calibration, held_out
from aura.training.temporal.fakes import CONTROLS, KINDS, PLAIN, make
from aura.training.temporal.fit import Network, Windows, fit, weights
from aura.training.temporal.pieces import Piece
from aura.training.temporal.prepare import CRFS, WHOLE

if TYPE_CHECKING:
    from pathlib import Path

LOOKED_FOR = {KINDS[0]: 1.0, KINDS[1]: 1.0}
CONFIG = {
    "kinds": LOOKED_FOR,
    "limit": 3.0,
    "inverse_regularisation": 0.1,
    "weight_of_all": 100.0,
}


def piece(count: int = 12) -> Piece:
    """A drawn head on its way; the pictures are a pattern that goes faster and faster."""
    times = np.arange(count) / 25
    seen = track(times, walk(times), np.zeros((count, 2)))
    picture = np.stack([pattern(seed, SIDE) for seed in (5, 6, 7)], axis=-1).astype(np.uint8)
    pictures = tuple(np.roll(picture, index**2, axis=1) for index in range(count))
    return Piece(pictures, times, seen.head_landmarks, seen.heads)


@pytest.mark.parametrize("kind", [*CONTROLS, *KINDS])
def test_fakes_and_controls_keep_size_and_number(kind: str) -> None:
    own = piece()
    photo = (own.pictures[0], own.landmarks[0])
    made = [make(kind, own, own, photo, np.random.default_rng(1)) for _ in range(2)]
    assert len(made[0]) == len(own.pictures)
    assert {one.shape for one in made[0]} == {own.pictures[0].shape}
    np.testing.assert_array_equal(made[0], made[1])
    same = np.array_equal(made[0], own.pictures)
    assert same == (kind == PLAIN)


def test_a_moved_photo_is_the_photo_elsewhere() -> None:
    own = piece()
    landmarks = own.landmarks[0]
    shift = np.array([6.0, -4.0], np.float32)
    driver = Driver(np.stack([landmarks, landmarks + shift]), own.heads[:2])
    random = np.random.default_rng(0)
    made = animate(own.pictures[0], landmarks, driver, 0, random, share=1.0, rigid=True)
    np.testing.assert_array_equal(made[0], own.pictures[0])
    inner = slice(20, SIDE - 20)
    np.testing.assert_array_equal(
        made[1][inner, inner], np.roll(own.pictures[0], (-4, 6), axis=(0, 1))[inner, inner]
    )


def rows(clips: int = 12, planted: float = 2.0, *, person: float = 5.0) -> Windows:
    """Each clip whole, as controls and as two kinds of fakes; the first trace tells the fakes."""
    random = np.random.default_rng(0)
    found = []
    for clip in range(clips):
        base = random.normal(0, person, len(TRACES)) * (np.arange(len(TRACES)) > 0)
        for kind in (WHOLE, *CONTROLS, KINDS[0], KINDS[1]):
            fake = kind in KINDS
            for _ in range(1 + 3 * (kind == WHOLE)):
                value = base + random.normal(0, 1, len(TRACES))
                value[0] += planted * fake
                found.append((value, f"c{clip}", kind, int(fake)))
    names = np.array([one[1] for one in found])
    kinds = np.array([one[2] for one in found])
    items = np.unique([f"{a}/{b}" for a, b in zip(names, kinds, strict=True)], return_inverse=True)
    return Windows(
        np.stack([one[0] for one in found]),
        items[1],
        names,
        names,
        np.full(len(found), "page"),
        kinds,
        np.where(kinds == WHOLE, 0, CRFS[0]),
        np.array([one[3] for one in found]),
        np.zeros(len(found), np.bool_),
    )


def test_every_clip_weighs_as_much_real_as_fake() -> None:
    some = rows(4)
    found = weights(some, np.ones(len(some.label), np.bool_), LOOKED_FOR)
    for clip in set(some.clip):
        for label in (0, 1):
            mine = (some.clip == clip) & (some.label == label)
            assert found[mine].sum() == pytest.approx(0.25)


def test_the_fit_finds_the_lie_and_not_the_person() -> None:
    some = rows()
    network = fit(some, np.ones(len(some.label), np.bool_), CONFIG)
    assert network.weights[0] > 2 * np.abs(network.weights[1:]).max()
    unknown = np.full((1, len(TRACES)), np.nan)
    assert network(unknown)[0] == pytest.approx(network(network.middle[None])[0])


def test_scores_come_from_fits_without_the_person_and_no_fake_by_others_is_fitted() -> None:
    some = rows(6)
    scores = held_out(some, some.group, CONFIG)
    mine = some.clip == "c0"
    expected = fit(some, ~mine, CONFIG)(some.values[mine])
    np.testing.assert_allclose(scores[mine], expected)
    some.others[:] = some.clip == "c1"
    expected = fit(some, ~mine & ~some.others, CONFIG)(some.values[mine])
    np.testing.assert_allclose(held_out(some, some.group, CONFIG)[mine], expected)


def test_calibrated_real_clips_seldom_pass_one_half() -> None:
    some = rows(40)
    items, scores = by_item(some, held_out(some, some.group, CONFIG))
    found = calibration(items, scores, CONFIG)
    logits = found["slope"] * scores + found["bias"]
    assert np.mean(logits[items.label == 0] > 0) <= 0.03
    assert np.mean(logits[items.label == 1] > 0) > 0.3


def test_the_exported_network_computes_what_was_fitted(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    width = len(TRACES)
    middle, spread = random.normal(0, 1, width), random.uniform(0.5, 2, width)
    network = Network(middle, spread, 3.0, random.normal(0, 1, width), 0.7)
    values = random.normal(0, 4, (5, width)).astype(np.float32)
    values[1, 3] = np.nan
    network.save(tmp_path / export.KEPT)
    figures = {"parameters": {}, "data": [], "metrics": {}}
    card = read_card(export.export(tmp_path, figures, {}, tmp_path))
    out = open_session(tmp_path / card.file, "cpu").run({"traces": values})["logit"]
    np.testing.assert_allclose(out, network(values.astype(np.float64)), rtol=1e-4, atol=1e-4)
