"""What the lip-sync recipe measures windows by, on made curves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("torch")

from aura.detectors.alignment import Agreement
from aura.training.sync.evaluate import SWAP, Case, fitting
from aura.training.sync.export import export_sync
from aura.training.sync.window_rules import BOTH_WAYS, TRIED, contrast, doubted, window_areas

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = {"prior_in_sync": 0.75}
LAGS = np.arange(-20, 21)


def curve(*peaks: int, unseen: int | None = None) -> Agreement:
    values = np.where(np.isin(LAGS, peaks), 0.9, 0.1)
    if unseen is not None:
        values = np.where(np.abs(LAGS) > unseen, np.nan, values)
    return Agreement(LAGS, values)


def case(kind: str, *peaks: int, group: str = "a", correlation: float = 0.5) -> Case:
    return Case(f"clip of {group}", group, kind, correlation, 0, (curve(*peaks),))


def test_a_peak_elsewhere_counts_against_a_window_and_none_leaves_it_alone() -> None:
    rule = contrast(BOTH_WAYS, early=0.2, share=0.5)
    one = case("in sync", 0)
    assert rule(one, curve(0)) == 0.9
    assert rule(one, curve(12)) == pytest.approx(0.1 - 0.5 * 0.8)
    assert rule(one, curve(6)) == pytest.approx(0.1)  # flank of a peak within
    assert rule(one, curve()) == pytest.approx(0.1)
    assert rule(one, curve(unseen=7)) == pytest.approx(0.1)


def test_all_rules_tell_a_clear_shift_and_differ_where_they_should() -> None:
    found = [case("in sync", 0), case("shift", 15), case("shift", 15)]
    for name, rule in TRIED.items():
        assert window_areas(found, ["shift"], rule)["shift"]["auc"] == 1.0, name
    early = case("shift", -4)
    accepted = {name for name, rule in TRIED.items() if rule(early, early.windows[0]) > 0.5}
    assert "0.2 s both ways, as in 1.0.0" in accepted
    assert "0.09 s early to 0.2 s late" not in accepted


def test_doubted_windows_are_counted_by_move() -> None:
    found = [case("in sync", 0), case("+0.12 s", 3), case("+0.12 s", 15)]
    shares = doubted(found, 0.5, BOTH_WAYS)
    assert shares["in sync"] == {"share": 0.0, "n": 1}
    assert shares["+0.12 s"] == {"share": 0.5, "n": 2}


def test_whether_a_clip_fits_is_decided_by_thresholds_of_other_people() -> None:
    others = [
        case(kind, group=group, correlation=value)
        for group in "bc"
        for kind, value in (("in sync", 0.6), ("in sync", 0.5), (SWAP, 0.1), (SWAP, 0.2))
    ]

    def lags(*own: float) -> list[int | None]:
        mine = [case("in sync", group="a", correlation=value) for value in own]
        return [c.lag for c in fitting([*mine, *others], [*mine, *others], CONFIG)][: len(own)]

    assert lags(0.55, 0.05) == [0, None]
    # However much a person's own cases would pull the threshold down.
    assert lags(*[0.05] * 50) == [None] * 50


def test_a_fit_that_differs_by_rounding_alone_leaves_the_network_as_it_is(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    figures.write_text(json.dumps({"parameters": {}, "data": [], "metrics": {}}), encoding="utf-8")
    rng = np.random.default_rng(0)
    lips, sound = rng.normal(0, 0.1, (55, 4)), rng.normal(0, 0.1, (384, 12))

    def exported(by: float) -> bytes:
        np.savez(tmp_path / "sync.npz", lips=lips + by, sound=sound)
        export_sync(tmp_path / "sync.npz", figures, {}, tmp_path)
        return (tmp_path / "sync-cca.onnx").read_bytes()

    first = exported(0.0)
    assert exported(3e-7) == first
    assert exported(1e-4) != first
