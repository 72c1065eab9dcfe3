"""Faces drawn anew by small generators: what changes, what stays, what is kept for measuring."""

from __future__ import annotations

import numpy as np
import pytest

from media_factory import write_clip

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")

from aura.errors import WeightsError  # noqa: E402
from aura.faces import CROP_SIDE, FaceDetector, align  # noqa: E402
from aura.training.visual import clips  # noqa: E402
from aura.training.visual import crops as crop_files  # noqa: E402
from aura.training.visual import generators as drawing  # noqa: E402
from aura.training.visual.blends import DRAWN, face_mask  # noqa: E402
from aura.training.visual.pairs import heldout_redrawn, training_batches  # noqa: E402
from aura.training.visual.redrawn import (  # noqa: E402
    Generators,
    draw_face,
    drawn_pair,
    redrawn_pair,
)

SPAN = crop_files.CANVAS_SPAN
SIDE = crop_files.CANVAS_SIDE
IMAGES = 480  # for each generator of the tests: it learns a face's colours, no more


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
    recipe = drawing.Recipe(64, 64, 8, "shuffle", IMAGES)
    held = drawing.Recipe(64, 128, 8, "nearest", IMAGES // 4, 2, True, True, heldout=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "RECIPES", {"one": recipe, "kept": held})
        patch.setattr("aura.training.visual.redrawn.RECIPES", {"one": recipe, "kept": held})
        drawing.train_all(out)
        yield out


@pytest.mark.parametrize("name", list(drawing.RECIPES))
def test_every_recipe_draws_the_size_it_says(name):
    recipe = drawing.RECIPES[name]
    network = drawing.Generator(recipe).eval()
    with torch.inference_mode():
        drawn = network(torch.zeros(1, 3, recipe.inputs, recipe.inputs))
    assert drawn.shape == (1, 3, recipe.side, recipe.side)


def test_some_upsampling_is_left_out_of_training_and_some_is_not():
    heldout = {name for name, recipe in drawing.RECIPES.items() if recipe.heldout}
    assert 0 < len(heldout) < len(drawing.RECIPES)
    kinds = {drawing.RECIPES[name].upsampling for name in heldout}
    trained = {r.upsampling for n, r in drawing.RECIPES.items() if n not in heldout}
    assert not kinds & trained


def test_a_trained_generator_draws_the_face_it_is_shown(folder, face):
    generators = Generators(folder)
    assert generators.names == ["one"]
    assert Generators(folder, heldout=True).names == ["kept"]
    drawn = generators.draw("one", face)
    assert drawn.shape == (64, 64, 3)
    small = face.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    flat = np.broadcast_to(face.mean(axis=(0, 1)), small.shape)
    # Nearer to the picture than its mean colour is: it has learned something.
    assert np.abs(drawn - small).mean() < 0.6 * np.abs(flat - small).mean()


def test_only_the_window_around_the_face_is_drawn(folder, face):
    drawn, inside = draw_face(face, np.random.default_rng(1), SPAN, Generators(folder), name="one")
    changed = np.abs(drawn.astype(int) - face).max(axis=2)
    assert inside[SIDE // 2, SIDE // 2] == pytest.approx(1.0)
    assert changed[inside > 0.5].mean() > 2
    assert changed[:, :8].max() == 0
    assert inside[:, :8].max() < 0.01


@pytest.mark.parametrize("seed", range(8))
def test_a_redrawn_face_shares_its_background_with_the_real_one(folder, face, seed):
    generators = Generators(folder)
    other = np.ascontiguousarray(face[:, ::-1]) if seed % 2 else None
    real, fake = redrawn_pair(face, np.random.default_rng(seed), SPAN, generators, other=other)
    changed = np.abs(real.astype(int) - fake.astype(int)).max(axis=2)
    border = np.ones(changed.shape, bool)
    border[16:-16, 16:-16] = False
    assert (changed[border] <= 1).mean() > 0.95
    assert changed.max() > 3
    same = redrawn_pair(face, np.random.default_rng(seed), SPAN, generators, other=other)
    assert np.array_equal(same[1], fake)


def test_the_real_member_of_a_wholly_drawn_pair_is_soft_now_and_then(folder, face):
    generators = Generators(folder)
    pairs = [drawn_pair(face, np.random.default_rng(seed), generators) for seed in range(12)]
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
    head = {
        "blend_pairs": 1,
        "generated_pairs": 0,
        "plain_photos": 0,
        "redrawn_pairs": 2,
        "drawn_pairs": 1,
        "ffhq_share": 0.5,
        "other_person_share": 0.5,
    }
    images, labels = next(training_batches(folder, head, seed=3))
    assert images.shape == (8, CROP_SIDE, CROP_SIDE, 3)
    assert labels.tolist() == [0, 1] * 4
    kept = crop_files.load(folder)
    generators = Generators(folder, heldout=True)
    held = heldout_redrawn(kept, generators, 2, seed=1, treated=False)
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
        return None if path.stem == "c" else np.stack([crop] * clips.FACES)

    def distance(images, head):
        return np.abs(images - crop.astype(np.float32)).mean(axis=(1, 2, 3))

    monkeypatch.setattr(clips, "faces_of", few_faces)
    monkeypatch.setattr(clips, "CRF", (19, 20))
    figures = clips.measure(distance, tmp_path, Generators(folder, heldout=True))
    assert asked == ["a", "b", "c"]
    assert sum("kept" in name for name in figures) == 3
    assert {name.split(":")[0] for name in figures} == {"visual_blend", "visual_generated"}
    # Two real clips and two made of them: one that knows the real picture finds every fake.
    assert {entry["n"] for entry in figures.values()} == {4}
    assert {entry["auc"] for entry in figures.values()} == {1.0}


def test_faces_of_a_clip_are_spread_over_its_length(portrait, tmp_path):
    small = np.ascontiguousarray(portrait[::2, ::2])
    pictures = [(small * light).astype(np.uint8) for light in np.linspace(0.6, 1.0, 60)]
    detector = FaceDetector(device="cpu")
    crops = clips.faces_of(write_clip(tmp_path / "long.mp4", pictures), detector)
    assert crops.shape == (clips.FACES, CROP_SIDE, CROP_SIDE, 3)
    light = crops.mean(axis=(1, 2, 3))
    assert (np.diff(light) > 0).all()
    assert light[0] < 0.7 * light[-1]
    assert clips.faces_of(write_clip(tmp_path / "short.mp4", pictures[:10]), detector) is None
