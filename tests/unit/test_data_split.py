"""Splits by people: who stays together, how large they get, what can't be split."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from aura.errors import UsageError
from aura.training.data import command
from aura.training.data.manifest import Row, read_manifest, write_manifest
from aura.training.data.splitting import split_by_people, split_manifest

if TYPE_CHECKING:
    from pathlib import Path


def people(count: int, clips: int = 2, fakes: int = 1) -> list[Row]:
    """Each person with some clips, some of them fake."""
    return [
        Row(f"v/{i}-{k}.mp4", "fake" if k < fakes else "real", identity=f"p{i}", group=f"g{i}-{k}")
        for i in range(count)
        for k in range(clips)
    ]


def test_nobody_is_in_two_splits_and_shares_are_met() -> None:
    found = split_by_people(people(100), (0.6, 0.25, 0.15))
    homes: dict[str, set[str]] = {}
    for row in found:
        homes.setdefault(row.identity, set()).add(row.split)
    assert all(len(splits) == 1 for splits in homes.values())
    sizes = Counter((row.split, row.label) for row in found)
    for split, wanted in (("train", 60), ("val", 25), ("test", 15)):
        for label in ("real", "fake"):
            assert abs(sizes[split, label] - wanted) <= 1


def test_a_face_swap_keeps_both_its_people_together() -> None:
    rows = [*people(20), Row("swap.mp4", "fake", identity="p3;p17")]
    splits = {row.path: row.split for row in split_by_people(rows)}
    assert splits["swap.mp4"] == splits["v/3-0.mp4"] == splits["v/17-1.mp4"]


def test_the_order_of_the_rows_does_not_matter_and_the_seed_does() -> None:
    rows = people(40)
    first = {row.path: row.split for row in split_by_people(rows)}
    turned = {row.path: row.split for row in split_by_people(rows[::-1])}
    other = {row.path: row.split for row in split_by_people(rows, seed=1)}
    assert first == turned
    assert first != other


def test_a_split_that_is_not_wanted_stays_empty() -> None:
    found = split_by_people(people(10), (0.5, 0.5, 0.0))
    assert Counter(row.split for row in found) == {"train": 10, "val": 10}


def test_fakes_can_be_held_for_the_test_with_everybody_in_them() -> None:
    rows = [*people(20, fakes=0), *people(5, fakes=1)]
    rows = [
        replace(row, identity=f"{row.identity}-{i >= 40}", group="") for i, row in enumerate(rows)
    ]
    found = split_by_people(rows, (0.6, 0.2, 0.2), fakes_to_test=True)
    assert {row.split for row in found if row.target} == {"test"}
    assert {row.split for row in found[40:]} == {"test"}
    sizes = Counter(row.split for row in found if not row.target)
    assert sum(sizes.values()) == 45
    assert abs(sizes["train"] - 27) <= 2
    assert abs(sizes["val"] - 9) <= 2
    with pytest.raises(UsageError, match="share is 0"):
        split_by_people(rows, (0.8, 0.2, 0.0), fakes_to_test=True)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.3, 0.2), (1.2, -0.1, -0.1)])
def test_shares_that_make_no_sense_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="sum to 1"):
        split_by_people(people(10), shares)


def test_people_who_all_hang_together_can_t_be_split() -> None:
    rows = [replace(row, group="one") for row in people(10)]
    with pytest.raises(UsageError, match="share people"):
        split_by_people(rows)


def test_the_new_manifest_may_stand_above_and_leaves_out_what_is_no_video(tmp_path: Path) -> None:
    home = tmp_path / "data"
    home.mkdir()
    write_manifest(home / "manifest.csv", [*people(12), Row("face.jpg", "real", identity="x")])
    before = (home / "manifest.csv").read_bytes()
    split_manifest(home / "manifest.csv", tmp_path / "new.csv", videos_only=True)
    rows = read_manifest(tmp_path / "new.csv")
    assert len(rows) == 24
    assert all(row.path.startswith("data/v/") and row.split for row in rows)
    assert (home / "manifest.csv").read_bytes() == before


def test_a_place_from_which_no_path_leads_to_the_clips_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "data"
    home.mkdir()
    write_manifest(home / "manifest.csv", people(12))
    with pytest.raises(UsageError, match="ln -s"):
        split_manifest(home / "manifest.csv", tmp_path / "elsewhere" / "new.csv")
    with pytest.raises(UsageError, match="the manifest itself"):
        split_manifest(home / "manifest.csv", home / "manifest.csv")


def test_the_command_says_what_became_of_the_clips(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.csv", people(20))
    app = typer.Typer()
    command.register(app)
    words = ["data", "split", str(tmp_path / "manifest.csv"), "--out", str(tmp_path / "s.csv")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "40 clips" in result.output
    assert "train     fake        12" in result.output
