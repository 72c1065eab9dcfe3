"""Training of the face detectors: blends, treatment, network, resuming, export."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from aura.runtime import open_session, read_card, verify_card

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import numpy_helper  # noqa: E402

from aura.errors import InputNotFound, WeightsError  # noqa: E402
from aura.faces import CROP_SIDE, FaceDetector, align  # noqa: E402
from aura.training.visual import crops as crop_files  # noqa: E402
from aura.training.visual.augment import Treatment, _wear, h264, jpeg  # noqa: E402
from aura.training.visual.blends import BLENDED, blend_pair, face_mask  # noqa: E402
from aura.training.visual.export import convert, export, mean_weights, read_network  # noqa: E402
from aura.training.visual.loop import Trainer, predict, train  # noqa: E402
from aura.training.visual.network import (  # noqa: E402
    HEADS,
    FaceNetwork,
    Front,
    SameConv,
    Tail,
    imagenet_weights,
    start_from_imagenet,
)
from aura.training.visual.pairs import heldout_blends, training_batches  # noqa: E402

SPAN = crop_files.CANVAS_SPAN
CONFIG = {
    "seed": 1,
    "batch": 4,
    "images": 40,
    "seconds": 600,
    "learning_rate": 1e-3,
    "head_learning_rate": 1e-2,
    "front_rate": 0.1,
    "weight_decay": 0.0,
    "warmup_steps": 1,
    "label_smoothing": 0.0,
    "ema_decay": 0.5,
    "workers": 0,
    "checkpoint_seconds": 600,
    "ffhq_share": 0.5,
    "other_person_share": 0.5,
    "worn": 0.5,
    "kinds": {"blend": 0.6, "portrait": 0.4},
    "train_front": False,
}
SMALL = 64  # pixels: the network takes any size, and a small one is learned from quickly


@pytest.fixture(scope="module")
def face(portrait):
    (found,) = FaceDetector(device="cpu").detect(portrait)
    return align(portrait, found.landmarks, crop_files.CANVAS_SIDE, SPAN)


@pytest.fixture(scope="module")
def folder(face, tmp_path_factory):
    """A crop file as `prepare` writes it, of one face in different light."""
    out = tmp_path_factory.mktemp("crops")
    shades = [np.clip(face * f, 0, 255).astype(np.uint8) for f in (0.6, 0.8, 1.0, 1.1)]
    rows = [
        (image, source, split)
        for source in ("lfw", "ffhq", "stylegan")
        for split in ("train", "dev")
        for image in shades[:2]
    ]
    np.save(out / "crops.npy", np.stack([row[0] for row in rows]))
    np.savez(
        out / "crops.npz",
        source=[row[1] for row in rows],
        split=[row[2] for row in rows],
        person=[str(i) for i in range(len(rows))],
        nose=np.zeros((len(rows), 2), np.float32),
    )
    return out


@pytest.mark.parametrize("seed", range(6))
def test_a_blend_keeps_the_surround_and_changes_the_face(face, seed):
    real, fake = blend_pair(face, np.random.default_rng(seed), SPAN)
    changed = np.abs(real.astype(int) - fake.astype(int)).max(axis=2)
    border = np.ones(changed.shape, bool)
    border[16:-16, 16:-16] = False
    assert (changed[border] <= 1).mean() > 0.95
    assert changed.max() > 3
    again = blend_pair(face, np.random.default_rng(seed), SPAN)
    assert np.array_equal(again[1], fake)


def test_masks_are_soft_lie_over_the_face_and_come_in_every_kind():
    random = np.random.default_rng(0)
    masks = [face_mask(128, SPAN, random) for _ in range(60)]
    assert len(BLENDED) == 5
    assert all(mask.min() >= 0 and mask.max() <= 1 for mask in masks)
    mean = np.mean(masks, axis=0)
    assert mean[60:80, 55:75].mean() > 0.4
    assert mean[:8].max() < 0.05
    assert all(((mask > 0.05) & (mask < mask.max() - 0.05)).any() for mask in masks)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("worn", [0.0, 1.0])
def test_both_members_of_a_pair_are_treated_alike(face, seed, worn):
    treat = Treatment(np.random.default_rng(seed), crop_files.CANVAS_SIDE, CROP_SIDE, worn)
    first, second = treat(face), treat(face.copy())
    assert first.shape == (CROP_SIDE, CROP_SIDE, 3)
    assert np.array_equal(first, second)


def test_the_share_of_worn_pictures_is_as_asked():
    random = np.random.default_rng(0)
    wear = np.array([_wear(random, 0.4) for _ in range(2000)])
    assert wear.any(axis=1).mean() == pytest.approx(0.4, abs=0.04)
    assert wear.all(axis=1).mean() == pytest.approx(0.08, abs=0.02)
    assert wear.mean(axis=0) == pytest.approx([0.24, 0.24], abs=0.03)


def test_compression_loses_detail_but_keeps_the_picture(face):
    image = np.ascontiguousarray(face[:224, :224])
    for squeezed in (jpeg(image, 40), h264(image, 30, "veryfast", lead=1, shift=2)):
        error = np.abs(squeezed.astype(int) - image.astype(int)).mean()
        assert 0.3 < error < 12


def test_imagenet_weights_fill_front_and_tail_but_for_the_head():
    public = imagenet_weights()
    front, tail = Front(), Tail()
    needed = set(front.state_dict()) | set(tail.state_dict())
    assert needed - set(public) == {"head.weight", "head.bias"}
    assert set(public) <= needed
    start_from_imagenet(front)
    assert torch.equal(front.state_dict()["_conv_stem.weight"], public["_conv_stem.weight"])


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_tensorflows(kernel, stride):
    layer = SameConv(1, 1, kernel, stride)
    torch.nn.init.ones_(layer.weight)
    picture = torch.zeros(1, 1, 8, 8)
    picture[0, 0, 0, 0] = 1.0
    out = layer(picture)[0, 0]
    assert out.shape == (8 // stride, 8 // stride)
    # TensorFlow puts (kernel - stride) // 2 zeros before the first pixel of an even side.
    before = (kernel - stride) // 2 if stride > 1 else kernel // 2
    reached = int((out[0] > 0).sum())
    assert reached == len([i for i in range(8 // stride) if 0 <= before - i * stride < kernel])


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (5, 2)])
def test_the_quick_depthwise_gradient_is_the_slow_one(kernel, stride):
    torch.manual_seed(0)
    layer = SameConv(6, 6, kernel, stride, groups=6).train()
    image = torch.randn(2, 6, 8, 8, requires_grad=True)
    wanted = layer(image)
    wanted.square().sum().backward()
    slow = [image.grad.clone(), layer.weight.grad.clone()]
    image.grad = layer.weight.grad = None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = layer(image)
    assert got.dtype == torch.bfloat16
    got.float().square().sum().backward()
    assert torch.allclose(got.float(), wanted, atol=0.03)
    for quick, exact in zip([image.grad, layer.weight.grad], slow, strict=True):
        assert (quick - exact).norm() < 0.02 * exact.norm()


def test_the_whole_network_is_front_then_tails():
    network = FaceNetwork().eval()
    pixels = torch.rand(2, 3, CROP_SIDE, CROP_SIDE) * 255
    with torch.inference_mode():
        features = network.front(pixels)
        assert features.shape == (2, 48, 28, 28)
        logits = network(pixels)
        assert logits.shape == (2, len(HEADS))
        assert torch.allclose(logits[:, 1], network.tails["generated"](features), atol=1e-5)


def test_batches_are_pairs_and_say_what_each_counts_for_the_heads(folder):
    images, labels, weights = next(training_batches(folder, {**CONFIG, "batch": 12}, seed=3))
    assert images.shape == (12, CROP_SIDE, CROP_SIDE, 3)
    assert labels.tolist() == [0, 1] * 6
    counted = {tuple(round(one, 2) for one in row) for row in weights.tolist()}
    assert counted == {(1.0, 0.3), (0.0, 1.0)}
    assert np.array_equal(weights[::2], weights[1::2])
    repeated, *_ = next(training_batches(folder, {**CONFIG, "batch": 12}, seed=3))
    assert np.array_equal(images, repeated)


def test_held_out_blends_can_be_had_as_photographed(folder):
    kept = crop_files.load(folder)
    images = heldout_blends(kept, 4, seed=2, treated=False)
    photo = kept.images[kept.where("lfw", "dev")[0]][16:240, 16:240].astype(int)
    assert images.shape == (8, CROP_SIDE, CROP_SIDE, 3)
    others = heldout_blends(kept, 4, seed=2)
    # Without treatment a background keeps its place, so a real one is close to its photo.
    assert min(np.abs(images[i] - photo).mean() for i in (0, 2, 4, 6)) < 12
    assert not np.array_equal(images, others)


def batch(seed):
    random = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0.0, 1.0, 0.0, 1.0])
    images = torch.randint(0, 120, (4, SMALL, SMALL, 3), generator=random)
    images += (100 * labels).int()[:, None, None, None]
    return images.to(torch.uint8), labels, torch.ones(4, len(HEADS))


def test_a_network_learns_what_tells_the_classes_apart(tmp_path):
    trainer = Trainer(tmp_path, CONFIG)
    stem = trainer.network.front.state_dict()["_conv_stem.weight"].clone()
    losses = [float(trainer.learn(*batch(step))) for step in range(6)]
    assert np.mean(losses[-2:]) < 0.6 * losses[0]
    assert trainer.progress == pytest.approx(6 * 4 / 40)
    assert torch.equal(trainer.network.front.state_dict()["_conv_stem.weight"], stem)


def test_pictures_that_count_nothing_for_a_head_do_not_move_it(tmp_path):
    trainer = Trainer(tmp_path, {**CONFIG, "train_front": True})
    images, labels, weights = batch(0)
    weights[:, 1] = 0.0
    before = {name: head.head.weight.clone() for name, head in trainer.network.tails.items()}
    stem = trainer.network.front.state_dict()["_conv_stem.weight"].clone()
    trainer.learn(images, labels, weights)
    after = trainer.network.tails
    assert torch.equal(after["generated"].head.weight, before["generated"])
    assert not torch.equal(after["blend"].head.weight, before["blend"])
    assert not torch.equal(trainer.network.front.state_dict()["_conv_stem.weight"], stem)


def test_training_goes_on_from_the_checkpoint(tmp_path):
    trainer = Trainer(tmp_path, CONFIG)
    for step in range(2):
        trainer.learn(*batch(step))
    trainer.save({"step": trainer.step})
    other = Trainer(tmp_path, CONFIG)
    assert (other.step, other.seen) == (2, 8)
    torch.manual_seed(5)
    first = float(trainer.learn(*batch(9)))
    torch.manual_seed(5)
    assert float(other.learn(*batch(9))) == pytest.approx(first, rel=1e-4)
    assert json.loads((tmp_path / "log.jsonl").read_text())["step"] == 2


def test_a_loss_that_is_no_number_stops_before_anything_is_changed(tmp_path):
    trainer = Trainer(tmp_path, CONFIG)
    before = trainer.network.tails["blend"].head.weight.clone()
    images, labels, weights = batch(0)
    with pytest.raises(FloatingPointError, match="step 0"):
        trainer.learn(images, labels * float("nan"), weights)
    assert torch.equal(trainer.network.tails["blend"].head.weight, before)


def test_training_ends_when_its_time_is_over(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("aura.training.visual.loop.MONITORED", 1)
    config = {**CONFIG, "seconds": 0.01, "networks": {"only": {"train_front": False}}}
    train(folder, tmp_path, ["only"], config)
    record = json.loads((tmp_path / "only" / "log.jsonl").read_text())
    assert (record["step"], record["images"]) == (1, 4)
    assert set(record["heldout_auc"]) == {"self-blends", "portraits"}
    assert isinstance(read_network(tmp_path / "only"), FaceNetwork)


def test_training_goes_on_from_an_average(folder, tmp_path):
    first = Trainer(tmp_path / "first", CONFIG)
    first.average.module.tails["blend"].head.bias.data.fill_(3.0)
    first.save({"step": 0})
    start = tmp_path / "first" / "average.pt"
    second = Trainer(tmp_path / "second", {**CONFIG, "start": str(start)})
    assert second.network.tails["blend"].head.bias.item() == 3.0
    second.save({"step": 0})
    saved = torch.load(tmp_path / "second" / "average.pt", weights_only=True)
    assert json.loads(saved["config"])["start"] == "average.pt"


def test_the_mean_of_two_networks_lies_between_them(run, tmp_path):
    saved = torch.load(run / "average.pt", weights_only=True)
    name, left = "tails.blend.head.weight", "tails.generated.head.weight"
    other = {**saved["weights"], name: saved["weights"][name] + 2.0}
    other[left] = saved["weights"][left] + 2.0
    torch.save({**saved, "weights": other}, tmp_path / "visual-lite-9.pt")
    files = [run / "average.pt", tmp_path / "visual-lite-9.pt"]
    path = mean_weights(files, tmp_path / "mean", ["blend"])
    mean = torch.load(path, weights_only=True)
    assert torch.allclose(mean["weights"][name], saved["weights"][name] + 1.0)
    assert torch.equal(mean["weights"][left], saved["weights"][left])
    assert mean["weights"]["front._bn0.num_batches_tracked"].dtype == torch.int64
    assert json.loads(mean["config"])["mean_of"] == ["average.pt", "visual-lite-9.pt"]
    assert isinstance(read_network(path.parent), FaceNetwork)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose network knows nothing but ImageNet."""
    out = tmp_path_factory.mktemp("run")
    Trainer(out, CONFIG).save({"step": 0})
    return out


def test_the_exported_file_answers_as_the_network_and_its_card_fits(run, folder, tmp_path):
    figures = tmp_path / "figures.json"
    figures.write_text('{"note": "made by a test"}')
    with pytest.raises(WeightsError, match="convert"):
        export(run, folder, tmp_path, figures)
    convert(run, folder)
    card_path = export(run, folder, tmp_path, figures)
    card = read_card(card_path)
    assert verify_card(card, tmp_path) is None
    assert card.metrics["note"] == "made by a test"
    assert "beat chance" in card.metrics["heat maps"]
    assert 0 < card.parameters["rounding_rms_logits"] < 0.05  # its logits spread by far less than 2
    images = heldout_blends(crop_files.load(folder), 3, seed=8)
    pixels = images.transpose(0, 3, 1, 2).astype(np.float32)
    wanted = predict(read_network(run), images)
    got = open_session(tmp_path / card.file, "cpu").run({"images": pixels})["logits"]
    assert np.abs(got - wanted).max() < 0.1
    other = onnxruntime.InferenceSession(tmp_path / card.file, providers=["CPUExecutionProvider"])
    (again,) = other.run(None, {"images": pixels})
    assert np.abs(got - again).max() < 0.05  # another engine, other kernels, the same rounding


def test_large_weights_of_the_file_are_bytes_that_no_pair_of_products_overflows(run, folder):
    model = onnx.load(convert(run, folder))
    kinds = Counter(node.op_type for node in model.graph.node)
    weights = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    steps = {name: one for name, one in weights.items() if one.dtype == np.int8 and one.ndim == 4}
    assert kinds["QuantizeLinear"] > 20
    assert len(steps) > 40
    for one in steps.values():
        size = np.abs(one.astype(np.int32)).reshape(len(one), -1)
        assert (size[:, 0::2] + size[:, 1::2]).max() * 255 <= np.iinfo(np.int16).max
    floats = [one.size for one in weights.values() if one.dtype == np.float32]
    assert max(floats) < 40_000  # depthwise kernels, the stem and the heads


def test_missing_crops_and_runs_are_named(tmp_path):
    with pytest.raises(InputNotFound, match="prepare"):
        crop_files.load(tmp_path)
    with pytest.raises(InputNotFound, match=r"manifest\.csv"):
        crop_files.prepare(tmp_path, tmp_path / "out")
    with pytest.raises(WeightsError, match="train"):
        read_network(tmp_path)
