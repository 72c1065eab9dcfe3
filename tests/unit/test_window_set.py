"""What training is shown: labels by the moment, balanced draws, alike on any number of workers."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")
pytest.importorskip("transformers", reason="transformers is in the extra 'train'")

from aura.errors import InputError, UsageError  # noqa: E402
from aura.training.contract.dataset import Recipe, WindowSet, training_sets  # noqa: E402
from aura.training.contract.feed import Feed  # noqa: E402
from aura.training.contract.losses import UNKNOWN  # noqa: E402
from aura.training.contract.making import pair_kinds  # noqa: E402
from aura.training.contract.people import val_parts  # noqa: E402
from aura.training.contract.samples import Batch, window_label  # noqa: E402
from aura.training.contract.settings import differences, read_settings  # noqa: E402
from aura.training.data.clip import Span, Truth  # noqa: E402
from aura.training.data.manifest import Row  # noqa: E402
from made_clips import MAKING, MadeClips, made_rows, made_set, tiny_config  # noqa: E402

CONFIG = tiny_config()
TRAINING = Recipe(kinds=("swap", "partial_audio"), augment=True, balance=True, windows=2)


def window_set(clips: MadeClips, recipe: Recipe = TRAINING, seed: int = 0) -> WindowSet:
    return WindowSet(clips, range(len(clips.rows)), CONFIG, recipe, seed=seed, making=MAKING)


def loaded(source: WindowSet, epoch: int, workers: int = 0) -> list[Batch]:
    return list(Feed(source, workers).batches(source.batches(epoch, 8)))


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        a.origins == b.origins
        and all(torch.equal(x, y) for x, y in zip(a.inputs, b.inputs, strict=True))
        and all(torch.equal(x, y) for x, y in zip(a.targets[:5], b.targets[:5], strict=True))
        for a, b in zip(one, other, strict=True)
    )


def test_all_windows_of_a_clip_come_in_their_order_with_their_frames_and_sound() -> None:
    clips = MadeClips(made_rows("val", 1, 1))
    (real, fake) = loaded(window_set(clips, Recipe()), 0)
    assert [one.start for one in real.origins] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert real.inputs.frames.shape == (5, 5, 3, 224, 224)
    assert real.inputs.frames.dtype == torch.uint8
    assert real.inputs.frames[2, :, 0, 0, 0].tolist() == [15, 18, 21, 24, 27]
    assert real.origins[2].times == pytest.approx((1.0, 1.2, 1.4, 1.6, 1.8))
    whole = clips.load(0).voice.samples
    assert np.array_equal(real.inputs.sound[1].numpy(), whole[8_000:24_000])
    assert real.targets.label.tolist() == [0] * 5
    assert fake.targets.label.tolist() == [1] * 5
    assert [fake.origins[0].path, fake.origins[0].label] == ["val/1.mp4", 1]
    moved = real.to_device(torch.device("cpu"))
    assert moved.inputs.frames.dtype == torch.float32
    assert float(moved.inputs.frames.max()) > 1.0


def test_a_long_clip_is_loaded_in_parts_that_join_without_a_seam() -> None:
    clips = MadeClips(made_rows("val", 1, 1), seconds=21.0)
    parts = loaded(window_set(clips, Recipe()), 0)
    assert [len(part) for part in parts] == [16, 16, 9] * 2
    starts = [one.start for part in parts[:3] for one in part.origins]
    assert starts == pytest.approx(np.arange(41) * 0.5)
    assert all(bool(part.inputs.frame_mask.all()) for part in parts)
    assert all(span is not None and span[1] - span[0] < 9.0 for _, span in clips.loads)


def test_labels_follow_the_moment_in_a_partial_fake() -> None:
    truth = Truth(1, 1, 0, UNKNOWN, (Span("visual", 1.2, 1.6),))
    clips = MadeClips(made_rows("val", 0, 1), truths={0: truth})
    (batch,) = loaded(window_set(clips, Recipe()), 0)
    assert batch.targets.label.tolist() == [0, 1, 1, 1, 0]
    assert batch.targets.visual.tolist() == [0, 1, 1, 1, 0]
    assert batch.targets.audio.tolist() == [0] * 5
    assert batch.targets.disagreement.tolist() == [UNKNOWN] * 5
    assert batch.targets.frames[2].tolist() == [0, 1, 1, 0, 0]
    assert [one.label for one in batch.origins] == [1] * 5


@pytest.mark.parametrize(
    ("truth", "label"),
    [
        (Truth(0, 0, 0, 0), 0),
        (Truth(1), 1),
        (Truth(1, 0, 0, 1), 1),
        (Truth(1, 1, 0, 0, (Span("visual", 5.0, 6.0),)), 0),
        (Truth(1, 1, 1, 0, (Span("visual", 5.0, 6.0), Span("audio", 0.2, 0.4))), 1),
    ],
)
def test_a_window_is_fake_where_anything_in_it_is(truth: Truth, label: int) -> None:
    assert window_label(truth, 0.0, 1.0) == label


def test_windows_with_nothing_to_see_or_hear_are_left_out() -> None:
    clips = MadeClips(made_rows("val", 1, 0), silent=(0,))
    whole = clips.load

    def with_a_gap(index: int, span: tuple[float, float] | None = None) -> object:
        clip = whole(index, span)
        kept = clip.faces.times < 1.0
        faces = type(clip.faces)(*(value[kept] for value in clip.faces))
        return type(clip)(**{**vars(clip), "faces": faces})

    clips.load = with_a_gap  # type: ignore[method-assign,assignment]
    (batch,) = loaded(window_set(clips, Recipe()), 0)
    assert [one.start for one in batch.origins] == [0.0, 0.5]


def test_a_batch_depends_on_seed_and_epoch_and_not_on_the_workers() -> None:
    source = window_set(made_set())
    first = loaded(source, 3)
    assert same(first, loaded(window_set(made_set()), 3))
    assert same(first, loaded(source, 3, workers=2))
    assert same(first, loaded(source, 3, workers=1))
    assert not same(first, loaded(source, 4))
    assert not same(first, loaded(window_set(made_set(), seed=1), 3))
    again = source.batches(3, 8)[2:]
    assert same(first[2:], list(Feed(source, 0).batches(again)))


def test_classes_are_balanced_and_nobody_is_left_out() -> None:
    clips = MadeClips(made_rows("train", 2, 7))
    units = window_set(clips, Recipe(balance=True, windows=2)).units(0)
    labels = [clips.rows[unit.clip].target for unit in units]
    assert labels.count(0) == labels.count(1) == 7
    assert {unit.clip for unit in units} == set(range(9))
    assert len(set(units)) == 14
    plain = window_set(clips, Recipe(windows=2)).units(0)
    assert len(plain) == 9


def test_fakes_are_made_of_real_clips_with_all_drawn_kinds_and_real_partners() -> None:
    clips = MadeClips(made_rows("train", 6, 0), silent=(5,))
    source = window_set(clips)
    found = [one for epoch in range(4) for batch in loaded(source, epoch) for one in batch.origins]
    assert {one.kind for one in found} == {"", "swap", "partial_audio"}
    assert {one.clip for one in found if one.kind} == {0, 1, 2, 3, 4}
    for one in found:
        assert one.label == int(bool(one.kind))
    # Made quieter beside the lie, as the real partners are: no sample is as it was recorded.
    (batch, *_) = loaded(window_set(clips, Recipe(kinds=("swap",), windows=2)), 0)
    for sound, one in zip(batch.inputs.sound, batch.origins, strict=True):
        first = round(one.start * 16_000)
        whole = clips.load(one.clip).voice.samples[first : first + 16_000]
        if len(whole):
            ratio = float(sound.abs().max() / np.abs(whole).max())
            assert 0.49 < ratio < 0.91


def test_real_clips_go_through_the_treatment_as_often_as_fakes_do() -> None:
    """Three data fakes for one self-made one: else "untreated" would say fake."""
    clips = MadeClips(made_rows("train", 40, 120))
    recipe = Recipe(kinds=("partial_audio",), windows=1)
    source = WindowSet(clips, range(160), CONFIG, recipe, seed=0, making=MAKING)
    treated = 0
    for unit in source.units(0)[:40]:
        (one,) = source[unit]
        first = round(one.origin.start * 16_000)
        whole = clips.load(unit.clip).voice.samples[first : first + 16_000]
        treated += not np.array_equal(one.window.samples, whole)
    assert 3 <= treated <= 18


def test_a_donor_is_of_other_people() -> None:
    """With one person alone nothing can be swapped; the clip stays what it is."""
    rows = [Row(f"{i}.mp4", "real", split="train", identity="ada") for i in range(3)]
    source = window_set(MadeClips(rows), Recipe(kinds=("swap",), windows=2))
    assert {one.kind for batch in loaded(source, 0) for one in batch.origins} == {""}


def test_a_batch_has_one_frame_rate() -> None:
    clips = MadeClips(made_rows("train", 5, 5), fps=dict.fromkeys((1, 3, 6), 10.0))
    source = window_set(clips, Recipe(windows=2))
    batches = source.batches(0, 8)
    assert {len(batch) for batch in batches} == {4}
    assert {unit.clip for batch in batches for unit in batch} == set(range(10))
    shapes = {one.inputs.frames.shape[1] for one in loaded(source, 0)}
    assert shapes == {5, 10}
    with pytest.raises(UsageError, match=r"train/0\.mp4.*3 pictures.*takes 5 to 10"):
        window_set(MadeClips(made_rows("train", 1, 1), fps=3.0))


def test_validation_makes_the_same_fakes_each_time_where_the_set_has_none() -> None:
    clips = MadeClips(made_rows("train", 4, 0) + made_rows("val", 8, 0), seconds=9.0)
    recipe = Recipe(kinds=("swap",), augment=True, windows=2)
    _, val = training_sets(clips, CONFIG, recipe, seed=0, making=MAKING)
    first, again = loaded(val, 0), loaded(val, 7)
    assert same(first, again)
    kinds = [one.kind for batch in first for one in batch.origins]
    assert kinds.count("swap") == kinds.count("") > 0
    stretches: dict[int, set[tuple[float, ...]]] = {}
    for batch in first:
        starts = tuple(one.start for one in batch.origins)
        stretches.setdefault(batch.origins[0].clip, set()).add(starts)
    assert all(len(one) == 1 for one in stretches.values())


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (made_rows("val", 4, 4), r"'train'.*column split"),
        (made_rows("train", 4, 4), r"'val'.*column split"),
        (made_rows("train", 4, 0) + made_rows("val", 4, 4), r"'train' has 4 real.*--pairs all"),
        (made_rows("train", 0, 4) + made_rows("val", 4, 4), r"'train' has 4 fake.*add real"),
        (made_rows("train", 4, 4) + made_rows("val", 4, 0), r"'val' has 2 real.*--pairs all"),
        (made_rows("train", 4, 4) + made_rows("val", 0, 4), r"'val' has 2 fake.*add real"),
    ],
)
def test_empty_and_one_class_splits_are_named_with_a_remedy(rows: list[Row], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        training_sets(MadeClips(rows), CONFIG, Recipe(windows=2), seed=0, making=None)


def test_an_error_in_a_loading_process_arrives_as_the_sentence_it_was() -> None:
    clips = made_set()

    def broken(index: int, span: object = None) -> object:
        raise InputError(f"shard {index} is damaged")

    clips.load = broken  # type: ignore[method-assign,assignment]
    with pytest.raises(InputError, match=r"^shard \d+ is damaged$"):
        loaded(window_set(clips), 0, workers=1)


def test_the_people_who_calibrate_are_not_those_who_select() -> None:
    rows = [
        Row(
            f"{person}-{take}.mp4",
            "fake" if take else "real",
            split="val",
            identity=f"p{person}" if take < 2 else f"p{person};p{(person + 1) % 20}",
            group=f"g{person}",
        )
        for person in range(0, 20, 2)
        for take in range(3)
    ]
    rows += [*made_rows("train", 2, 2), Row("x.mp4", "real", split="val")]
    select, calibrate = val_parts(rows)
    assert sorted(select + calibrate) == [*range(30), 34]
    people = [{p for i in part for p in rows[i].identities} for part in (select, calibrate)]
    groups = [{rows[i].group for i in part} for part in (select, calibrate)]
    assert not people[0] & people[1]
    assert not groups[0] & groups[1]
    assert abs(len(select) - len(calibrate)) <= 3
    for part in (select, calibrate):
        assert {rows[i].target for i in part} == {0, 1}
    turned = list(reversed(rows))
    again = val_parts(turned)
    assert {turned[i].path for i in again[0]} == {rows[i].path for i in select}


def test_where_swaps_link_everybody_content_is_parted_and_one_clip_is_not() -> None:
    linked = [Row(f"{i}", "fake", split="val", identity="a;b", group=f"g{i}") for i in range(4)]
    select, calibrate = val_parts(linked)
    assert sorted(select + calibrate) == [0, 1, 2, 3]
    assert len(select) == len(calibrate) == 2
    assert val_parts(linked[:1]) == ([0], [])
    assert val_parts([]) == ([], [])


def test_the_settings_are_the_contract_s_and_refuse_what_they_do_not_know() -> None:
    found = read_settings()
    assert (found.learning_rate, found.warmup_steps, found.batch) == (1e-4, 1000, 32)
    assert (found.epochs, found.early_stop) == (20, 5)
    assert CONFIG.loss.temporal_consistency == CONFIG.loss.label_smoothing == 0.1
    with pytest.raises(UsageError, match="epochs"):
        read_settings(epochs=0)
    with pytest.raises(UsageError, match="epoks"):
        read_settings(epoks=3)
    assert differences({"a": 1}, {"a": 1, "b": None}) == []


def test_kinds_of_fakes_go_by_name_and_by_group() -> None:
    assert pair_kinds(["none"]) == ()
    assert pair_kinds(["swap", "visual"])[0] == "self_blend"
    assert set(pair_kinds(["sync"])) < set(pair_kinds(["all"]))
    with pytest.raises(UsageError, match=r"--pairs shfit"):
        pair_kinds(["shfit"])
