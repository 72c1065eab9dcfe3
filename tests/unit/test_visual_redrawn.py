"""Faces drawn anew by small generators: what changes, what stays, what is kept for measuring."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from media_factory import write_clip

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")

from aura.errors import WeightsError  # noqa: E402
from aura.faces import CROP_SIDE, FaceDetector, align  # noqa: E402
from aura.training.visual import clips  # noqa: E402
from aura.training.visual import crops as crop_files  # noqa: E402
from aura.training.visual import generator_training as teaching  # noqa: E402
from aura.training.visual import generators as drawing  # noqa: E402
from aura.training.visual.bank import FACE, MOVED, WHOLE, Bank  # noqa: E402
from aura.training.visual.blends import DRAWN, face_mask  # noqa: E402
from aura.training.visual.drive import drive  # noqa: E402
from aura.training.visual.pairs import heldout_redrawn, training_batches  # noqa: E402
from aura.training.visual.redrawn import (  # noqa: E402
    Generators,
    drawn_pair,
    plain_face,
    redrawn_pair,
)

SPAN = crop_files.CANVAS_SPAN
SIDE = crop_files.CANVAS_SIDE
IMAGES = 200  # for the generator of the tests: it learns a face's colours, no more


@pytest.fixture(scope="module")
def face(portrait):
    (found,) = FaceDetector(device="cpu").detect(portrait)
    return align(portrait, found.landmarks, SIDE, SPAN)


@pytest.fixture(scope="module")
def folder(face, tmp_path_factory):
    """Crops of one face in different light, and one generator of each group trained on them."""
    out = tmp_path_factory.mktemp("drawn")
    rows = [
        (np.clip(face * light, 0, 255).astype(np.uint8), source, split)
        for source in ("lfw", "ffhq")
        for split in ("train", "dev")
        for light in (0.7, 1.0)
    ]
    np.save(out / "crops.npy", np.stack([row[0] for row in rows]))
    np.savez(
        out / "crops.npz",
        source=[row[1] for row in rows],
        split=[row[2] for row in rows],
        person=[str(i) for i in range(len(rows))],
        nose=np.zeros((len(rows), 2), np.float32),
    )
    recipe = drawing.Recipe(32, 32, 8, 8, "shuffle", IMAGES, width=8)
    held = drawing.Recipe(
        32, 64, 8, 8, "nearest", 16, 8, 2, noisy_code=True, adversarial=0.1, heldout=True
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "RECIPES", {"one": recipe, "kept": held})
        patch.setattr(teaching, "RECIPES", {"one": recipe, "kept": held})
        patch.setattr(teaching, "BATCH", 4)
        teaching.train_generators(out, ["one", "kept"], "cpu")
        yield out


def small(recipe):
    """The same build, a few channels wide: the real ones take their time on a CPU."""
    return dataclasses.replace(recipe, width=4)


@pytest.mark.parametrize("name", list(drawing.RECIPES))
def test_every_recipe_draws_the_size_it_says(name):
    recipe = small(drawing.RECIPES[name])
    network = drawing.Generator(recipe).train()
    drawn = network(torch.zeros(1, 3, recipe.inputs, recipe.inputs))
    assert drawn.shape == (1, 3, recipe.side, recipe.side)
    drawn.mean().backward()
    assert network.encode.weight.grad.abs().max() > 0  # also through a rounded code


def test_some_upsampling_is_left_out_of_training_and_some_is_not():
    heldout = {name for name, recipe in drawing.RECIPES.items() if recipe.heldout}
    assert 0 < len(heldout) < len(drawing.RECIPES)
    kinds = {drawing.RECIPES[name].upsampling for name in heldout}
    trained = {r.upsampling for n, r in drawing.RECIPES.items() if n not in heldout}
    assert not kinds & trained


def test_a_trained_generator_draws_the_face_it_is_shown(folder, face):
    bank = Bank(folder)
    assert len(bank) == 1
    photos = np.load(folder / "crops.npy")
    drawing_ = bank.draw(np.random.default_rng(0), FACE)
    photo = photos[drawing_.photo].astype(int)
    left, top, width = drawing_.window
    inside = np.s_[top : top + width, left : left + width]
    flat = np.broadcast_to(photo[inside].mean(axis=(0, 1)), photo[inside].shape)
    # Nearer to the picture than its mean colour is: it has learned something.
    error = np.abs(drawing_.picture[inside] - photo[inside]).mean()
    assert 1 < error < 0.8 * np.abs(flat - photo[inside]).mean()
    outside = np.ones(photo.shape[:2], bool)
    outside[inside] = False
    assert np.abs(drawing_.picture - photo)[outside].max() <= 1


def test_the_bank_holds_no_photo_of_held_out_people_and_none_of_a_held_out_generator(folder):
    bank, split = Bank(folder), np.load(folder / "crops.npz")["split"]
    random = np.random.default_rng(0)
    drawn = [bank.draw(random, kind) for kind in (FACE, WHOLE) for _ in range(12)]
    assert {split[one.photo] for one in drawn} == {"train"}
    assert sorted(path.stem for path in (folder / "bank").glob("*.npy")) == ["one"]
    assert Bank(folder / "nothing").draw(random, FACE) is None


def test_generators_for_measuring_draw_a_window_all_of_it_or_a_moved_picture(folder, face):
    generators = Generators(folder)
    assert generators.names == ["kept"]
    drawn = generators.face("kept", face, np.random.default_rng(1))
    _, top, width = drawn.window
    assert np.array_equal(drawn.picture[:top], face[:top])
    assert not np.array_equal(drawn.picture[top : top + width], face[top : top + width])
    for moved in (False, True):
        whole = generators.whole("kept", face, np.random.default_rng(1), moved=moved)
        assert whole.picture.shape == face.shape


def test_a_driven_face_has_another_pose_in_the_same_frame(face):
    signal = drawing.to_signal(torch.from_numpy(np.stack([face] * 4)))
    moved = drive(signal, torch.Generator().manual_seed(1))
    change = (moved - signal).abs().mean(1)
    assert change[:, 100:190, 80:180].mean() > 4 * change[:, :, :3].mean()
    assert change[:, :, 0].max() < 0.1
    assert not torch.allclose(moved[0], moved[1])
    assert torch.equal(moved, drive(signal, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("seed", range(4))
def test_a_redrawn_face_shares_its_background_with_the_real_one(folder, face, seed):
    generators = Generators(folder)

    def pair():
        random = np.random.default_rng(seed)
        drawn = plain_face(face, random) if seed == 3 else generators.face("kept", face, random)
        return redrawn_pair(face, random, SPAN, drawn, another=seed % 2 == 1)

    real, fake = pair()
    changed = np.abs(real.astype(int) - fake.astype(int)).max(axis=2)
    border = np.ones(changed.shape, bool)
    border[16:-16, 16:-16] = False
    assert (changed[border] <= 1).mean() > 0.95
    assert changed.max() > 3
    assert np.array_equal(pair()[1], fake)


def test_the_real_member_of_a_wholly_drawn_pair_loses_detail_now_and_then(folder, face):
    drawn = Generators(folder).whole("kept", face, np.random.default_rng(0))
    pairs = [drawn_pair(face, np.random.default_rng(seed), drawn) for seed in range(12)]
    kept = [np.array_equal(real, face) for real, _ in pairs]
    assert 0 < sum(kept) < len(kept)
    assert all(np.abs(fake.astype(int) - real).mean() > 1 for real, fake in pairs)


def test_the_lower_face_and_the_eyes_have_masks_of_their_own():
    random = np.random.default_rng(0)
    lower = np.mean([face_mask(128, SPAN, random, (0, 0), {"lower": 1.0}) for _ in range(20)], 0)
    eyes = np.mean([face_mask(128, SPAN, random, (0, 0), {"eyes": 1.0}) for _ in range(20)], 0)
    rows = np.arange(128)[:, None]
    assert {"lower", "eyes"} <= set(DRAWN)
    assert (lower * rows).sum() / lower.sum() > (eyes * rows).sum() / eyes.sum() + 15


def test_batches_and_held_out_pairs_hold_drawn_faces(folder):
    config = {
        "batch": 16,
        "ffhq_share": 0.5,
        "other_person_share": 0.5,
        "worn": 0.5,
        "kinds": {"redrawn": 0.4, "drawn": 0.3, "driven": 0.3},
    }
    images, labels, weights = next(training_batches(folder, config, seed=3))
    assert images.shape == (16, CROP_SIDE, CROP_SIDE, 3)
    assert labels.tolist() == [0, 1] * 8
    assert {tuple(row) for row in weights.tolist()} >= {(1.0, 1.0), (0.0, 1.0)}
    kept = crop_files.load(folder)
    generators = Generators(folder)
    for kind in (FACE, MOVED):
        held = heldout_redrawn(kept, generators, 2, seed=1, kind=kind, treated=False)
        assert held.shape == (4, CROP_SIDE, CROP_SIDE, 3)
        assert not np.array_equal(held[0], held[1])


def test_a_missing_generator_is_named(tmp_path):
    with pytest.raises(WeightsError, match="generators"):
        Generators(tmp_path)


def test_made_clips_are_ranked_against_the_untouched_ones(folder, face, tmp_path, monkeypatch):
    for name, label in (("a", "real"), ("b", "real"), ("c", "real"), ("d", "fake")):
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / f"{name}.mp4").write_bytes(b"not read")
    asked = []
    crop = np.ascontiguousarray(face[16:240, 16:240])

    def few_faces(path, detector):
        asked.append(path.stem)
        return None if path.stem == "c" else np.stack([crop] * 2)

    def distance(images):
        error = np.abs(images - crop.astype(np.float32)).mean(axis=(1, 2, 3))
        return np.stack([error, error], axis=1)

    monkeypatch.setattr(clips, "faces_of", few_faces)
    monkeypatch.setattr(clips, "CRF", (19, 20))
    made = clips.make_clips(tmp_path, Generators(folder), "kept")
    assert asked == ["a", "b", "c"]
    assert made.names == ["a", "b"]
    assert sum("kept" in name for name in made.made) == 4
    assert set(made.head.values()) == {0, 1}
    for scores in clips.clip_scores(distance, made).values():
        assert scores.shape == (4,)
        # One that knows the real picture finds every fake.
        assert scores[:2].max() < scores[2:].min()


def test_faces_of_a_clip_are_spread_over_its_length(portrait, tmp_path):
    small = np.ascontiguousarray(portrait[::2, ::2])
    pictures = [(small * light).astype(np.uint8) for light in np.linspace(0.6, 1.0, 60)]
    detector = FaceDetector(device="cpu")
    crops = clips.faces_of(write_clip(tmp_path / "long.mp4", pictures), detector)
    assert crops.shape == (len(clips.PLACES), CROP_SIDE, CROP_SIDE, 3)
    light = crops.mean(axis=(1, 2, 3))
    assert (np.diff(light) > 0).all()
    assert light[0] < 0.8 * light[-1]
    assert clips.faces_of(write_clip(tmp_path / "short.mp4", pictures[:10]), detector) is None
