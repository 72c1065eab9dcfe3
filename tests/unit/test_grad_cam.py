"""Grad-CAM in closed form against PyTorch's gradients, and the tests that a map must stand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from aura.explain import sanity
from aura.explain.cam import CamNetwork, grad_cam, shares
from aura.runtime import OpenVinoSession, list_cards, open_session, weights_dir
from aura.training.visual.network import FaceNetwork


@pytest.fixture(scope="module")
def faces(portrait):
    """Three pictures of a face's size, one of them the portrait."""
    random = np.random.default_rng(5)
    side = min(portrait.shape[:2])
    face = torch.from_numpy(portrait[:side, :side].astype(np.float32)).permute(2, 0, 1)[None]
    face = F.interpolate(face, size=(224, 224), mode="area")[0].permute(1, 2, 0).numpy()
    noise = random.uniform(0, 255, (224, 224, 3))
    ramp = np.broadcast_to(np.linspace(0, 255, 224)[:, None, None], (224, 224, 3))
    return np.stack([face, noise, ramp]).astype(np.uint8)


@pytest.fixture(scope="module")
def network():
    """Front and tails with seeded weights, batch norms that have seen something."""
    torch.manual_seed(3)
    torch.set_num_threads(1)
    made = FaceNetwork()
    for tail in made.tails.values():
        nn.init.normal_(tail.head.weight, std=0.5)
        nn.init.normal_(tail.head.bias)
    made.train()
    with torch.no_grad():
        made(torch.rand(4, 3, 224, 224) * 255)
    return made.eval()


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "made.onnx"
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, 224, 224),),
        str(path),
        input_names=["images"],
        output_names=["logits"],
        dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    return CamNetwork(OpenVinoSession(path, threads=1))


def autograd_maps(network, faces):
    """Grad-CAM as the paper has it: mean gradients weigh the last convolution's activations."""
    images = torch.from_numpy(faces.transpose(0, 3, 1, 2).astype(np.float32))
    found = []
    for tail in network.tails.values():
        with torch.no_grad():
            x = network.front(images)
            for block in tail._blocks.values():
                x = block(x)
        activation = F.relu6(tail._bn1(tail._conv_head(x))).detach().requires_grad_()
        logits = tail.head(activation.mean(dim=(2, 3)))[:, 0]
        (gradient,) = torch.autograd.grad(logits.sum(), activation)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        raw = (weights * activation).sum(dim=1).detach().numpy()
        found.append((logits.detach().numpy(), raw))
    return found


def test_closed_form_equals_autograd(network, exported, faces):
    looked = exported.look(faces)
    with_relu = 0
    for head, (logits, raw) in enumerate(autograd_maps(network, faces)):
        assert looked.logits[:, head] == pytest.approx(logits, abs=1e-3)
        for index in range(len(faces)):
            cells = shares(looked.features[head][index], exported.heads[head].weight)
            assert np.abs(cells - raw[index]).max() < 1e-4
            positive = np.maximum(raw[index], 0)
            if positive.max() > 0:
                with_relu += 1
                assert np.abs(grad_cam(cells) - positive / positive.max()).max() < 1e-4
    assert with_relu >= 2


def test_cells_of_the_shipped_network_add_up_to_its_logits(faces):
    shipped = CamNetwork()
    assert len(shipped.heads) == 2
    looked = shipped.look(faces)
    for index, head in enumerate(shipped.heads):
        for face in range(len(faces)):
            cells = shares(looked.features[index][face], head.weight)
            assert cells.shape == (7, 7)
            assert cells.sum() + head.bias == pytest.approx(looked.logits[face, index], abs=1e-4)


def test_feature_outputs_change_no_logit_and_do_not_show_up_among_results(faces):
    card = next(one for one in list_cards() if one.name == "visual-lite")
    session = open_session(weights_dir() / card.file, "cpu")
    images = {"images": faces.transpose(0, 3, 1, 2).astype(np.float32)}
    plain = session.run(images)
    results, maps = session.features(images)
    assert list(plain) == list(results) == ["logits"]
    assert np.array_equal(plain["logits"], results["logits"])
    assert [one.shape for one in maps] == [(3, 1280, 7, 7)] * 2


def test_each_picture_has_its_own_numbers_however_many_are_given_at_once(faces):
    card = next(one for one in list_cards() if one.name == "visual-lite")
    session = open_session(weights_dir() / card.file, "cpu")
    images = np.concatenate([faces, faces[::-1]]).transpose(0, 3, 1, 2).astype(np.float32)
    results, maps = session.features({"images": images})  # six: a full run and half of one
    assert np.array_equal(results["logits"][:3], results["logits"][:2:-1])
    for at_once in (1, 2, 4):
        parts = [
            session.features({"images": images[i : i + at_once]}) for i in range(0, 6, at_once)
        ]
        assert np.array_equal(
            np.concatenate([one["logits"] for one, _ in parts]), results["logits"]
        )
        assert np.array_equal(np.concatenate([found[1] for _, found in parts]), maps[1])


def test_networks_without_pooled_heads_have_none():
    for card in list_cards():
        if card.name in {"retinaface-mobilenet", "silero-vad", "whisper-tiny-stem"}:
            assert open_session(weights_dir() / card.file, "cpu").heads == ()


class OneSpot:
    """A network whose logit is how bright one place is: it is known what it looks at."""

    heads = ()

    def __init__(self, row, column):
        self._spot = (slice(row * 32, row * 32 + 32), slice(column * 32, column * 32 + 32))

    def logits(self, crops, head):
        return crops[:, *self._spot].astype(float).mean(axis=(1, 2, 3)) / 25.0


def bright_spot(row, column):
    crop = np.full((224, 224, 3), 40, np.uint8)
    crop[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32] = 250
    return crop


def spot_cells(row, column):
    cells = np.zeros((7, 7))
    cells[row, column] = 5.0
    cells[row - 1 : row + 2, column - 1 : column + 2] += 1.0
    return cells


def test_deletion_passes_a_map_that_marks_what_the_network_looks_at():
    crop, network = bright_spot(2, 4), OneSpot(2, 4)
    logit = float(network.logits(crop[None], 0)[0])
    found = sanity.deletion_test(
        network, crop, 0, spot_cells(2, 4), logit=logit, random=np.random.default_rng(1)
    )
    assert found.passed
    assert found.drop > 3 * found.elsewhere_mean
    assert found.share == pytest.approx(10 / 49)


def test_deletion_fails_a_map_that_marks_something_else():
    crop, network = bright_spot(5, 1), OneSpot(5, 1)
    logit = float(network.logits(crop[None], 0)[0])
    found = sanity.deletion_test(
        network, crop, 0, spot_cells(1, 5), logit=logit, random=np.random.default_rng(1)
    )
    assert not found.passed


def test_control_regions_have_the_size_of_the_marked_one_and_lie_elsewhere():
    marked = sanity.marked_cells(spot_cells(3, 3))
    others = sanity.other_regions(marked, np.random.default_rng(0))
    assert len(others) == sanity.OTHER_REGIONS
    assert all(one.sum() == marked.sum() for one in others)
    assert not any(np.array_equal(one, marked) for one in others)
    again = sanity.other_regions(marked, np.random.default_rng(0))
    assert all(np.array_equal(a, b) for a, b in zip(others, again, strict=True))


def test_a_learned_map_changes_when_the_last_layer_is_shuffled_and_a_mere_picture_does_not():
    random = np.random.default_rng(2)
    features = random.uniform(0, 1, (64, 7, 7)).astype(np.float32)
    features[:4, 2:4, 2:4] += 3.0  # four channels answer to one place,
    weight = random.normal(0, 0.05, 64).astype(np.float32)
    weight[:4] = 2.0  # and they are what counts
    learned = sanity.shuffled_similarity(features, weight, np.random.default_rng(0))
    picture = np.linspace(0, 1, 49).reshape(7, 7).astype(np.float32)
    same = np.repeat(picture[None], 64, axis=0)  # every channel shows the same
    shown = sanity.shuffled_similarity(same, np.abs(weight) + 0.1, np.random.default_rng(0))
    assert learned < sanity.MAX_SIMILARITY < shown
    assert shown == pytest.approx(1.0)


def test_maps_of_the_shipped_network_change_when_all_its_weights_are_random(exported, faces):
    shipped = CamNetwork()
    ours, random = shipped.look(faces[:1]), exported.look(faces[:1])
    for head in range(2):
        one = shares(ours.features[head][0], shipped.heads[head].weight).ravel()
        other = shares(random.features[head][0], exported.heads[head].weight).ravel()
        assert np.corrcoef(one, other)[0, 1] < 0.9
