"""Public checkpoints: read without running them, in our score's direction, or refused."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")
transformers = pytest.importorskip("transformers", reason="transformers is in the extra 'train'")

import safetensors.torch  # noqa: E402
from public_checkpoints import (  # noqa: E402
    TINY,
    TINY_TOWER,
    TINY_VOICE,
    DeepFakeClassifier,
    GenD,
    efficientnet,
    files_of,
    files_of_gend,
    lively,
    torchscript,
    videomae,
    wav2vec2,
)

from aura.errors import WeightsError  # noqa: E402
from aura.hub.catalogue import sources  # noqa: E402
from aura.training.public.archive import read_checkpoint  # noqa: E402
from aura.training.public.labels import fake_index  # noqa: E402
from aura.training.public.networks import read_network  # noqa: E402

SIDE = 76  # stands for 380: even and odd maps on the way, as there
SOURCES = {one.name: one for one in sources()}
MEAN, STD = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))


@lru_cache(maxsize=8)
def classifier(same: bool = True) -> DeepFakeClassifier:
    return lively(DeepFakeClassifier(same=same), SIDE)


@lru_cache(maxsize=8)
def program(how: str = "trace", same: bool = True) -> bytes:
    return torchscript(classifier(same), SIDE, how)


def lay(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def read(name: str, folder: Path, **settings: str):
    return read_network(SOURCES[name], folder, {"side": str(SIDE), **settings})


def faces(count: int, side: int = SIDE) -> torch.Tensor:
    random = np.random.default_rng(5)
    return torch.from_numpy(random.integers(0, 256, (count, side, side, 3), np.uint8))


@pytest.mark.parametrize(("how", "same"), [("trace", True), ("trace", False), ("script", True)])
def test_torchscript_is_rebuilt_without_running_it_and_answers_alike(tmp_path, how, same):
    network = classifier(same)
    (tmp_path / "model.pt").write_bytes(program(how, same))
    public = read("facetorch-b7", tmp_path)
    images = faces(3)
    with torch.no_grad():
        wanted = network(((images / 255 - MEAN) / STD).movedim(-1, 1))[:, 0]
        found = public.network(images)
    assert wanted.std() > 0.01  # else anything would do
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_plain_state_dict_must_be_told_how_it_was_padded(tmp_path):
    network = classifier()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="--set padding=same"):
        read("facetorch-b7", tmp_path)
    images = faces(2)
    with torch.no_grad():
        wanted = network(((images / 255 - MEAN) / STD).movedim(-1, 1))[:, 0]
        found = read("facetorch-b7", tmp_path, padding="same").network(images)
        other = read("facetorch-b7", tmp_path, padding="even").network(images)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert (other - wanted).abs().max() > 0.01  # the question is worth asking


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def with_pickle(data: bytes, made: bytes) -> bytes:
    """An archive whose description is another."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w") as target:
        for entry in source.infolist():
            own = made if entry.filename.endswith("/data.pkl") else source.read(entry)
            target.writestr(entry.filename, own)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["torchscript", "state dict", "bare pickle"])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path, kind):
    mark, path = tmp_path / "it ran", tmp_path / "model.pt"
    evil = pickle.dumps({"fc.weight": Attack(mark)}, protocol=2)
    if kind == "torchscript":
        path.write_bytes(with_pickle(program(), evil))
    elif kind == "state dict":
        torch.save({"fc.weight": Attack(mark)}, path)
    else:
        path.write_bytes(evil)
    with pytest.raises(WeightsError, match=r"more than tensors|bare pickle"):
        read_checkpoint(path)
    assert not mark.exists()
    pickle.loads(evil)  # the attack works where nobody looks
    assert mark.exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_a_file_that_was_cut_off_is_refused(tmp_path, name, share):
    network, data = classifier(), program()
    if name.endswith(".safetensors"):
        data = safetensors.torch.save({k: v.contiguous() for k, v in network.state_dict().items()})
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError, match=r"cut off or damaged"):
        read_checkpoint(tmp_path / name)


def test_a_few_bytes_that_claim_to_be_a_huge_tensor_are_refused(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"fc.weight": torch.zeros(1).expand(100_000, 100_000)}, path)
    with pytest.raises(WeightsError, match="cut off or damaged"):
        read_checkpoint(path)


def test_another_network_and_a_frozen_program_are_refused(tmp_path):
    (tmp_path / "model.pt").write_bytes(torchscript(torch.nn.Conv2d(3, 4, 3), SIDE))
    with pytest.raises(WeightsError, match=r"no EfficientNet in timm's names"):
        read("facetorch-b7", tmp_path)
    frozen = torch.jit.freeze(torch.jit.script(torch.nn.Conv2d(3, 4, 3).eval()))
    torch.jit.save(frozen, str(tmp_path / "model.pt"))
    with pytest.raises(WeightsError, match="frozen program"):
        read("facetorch-b7", tmp_path)
    network = classifier()
    state = {k: v for k, v in network.state_dict().items() if "blocks.3.0.se" not in k}
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="another kind of EfficientNet"):
        read("facetorch-b7", tmp_path, padding="same")


@pytest.mark.parametrize(
    ("labels", "ways"),
    [
        ({0: "Fake", 1: "Real"}, {"include_top": True}),  # as google/efficientnet-b7 has it
        ({0: "Real", 1: "Fake"}, {"include_top": False, "rescale_offset": True}),
    ],
)
def test_an_efficientnet_of_transformers_answers_as_with_its_own_processor(tmp_path, labels, ways):
    from transformers.models.efficientnet import image_processing_pil_efficientnet as pil

    ways |= {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.478, 0.473, 0.474]}
    size = {"height": SIDE, "width": SIDE}
    processor = pil.EfficientNetImageProcessorPil(do_resize=False, size=size, **ways)
    model = efficientnet(labels, SIDE)
    lay(tmp_path, files_of(model, tmp_path))
    with pytest.raises(WeightsError, match="nobody knows how its pictures were normalised"):
        read_network(SOURCES["facetorch-b7"], tmp_path, {})
    processor.save_pretrained(tmp_path)
    public = read_network(SOURCES["facetorch-b7"], tmp_path, {})
    assert public.parameters["side"] == SIDE
    images = faces(3)
    values = processor(list(images.numpy()), return_tensors="pt")["pixel_values"]
    fake = next(index for index, name in labels.items() if name == "Fake")
    with torch.no_grad():
        wanted = model(values).logits.softmax(1)[:, fake]
        found = torch.sigmoid(public.network(images))
    assert wanted.std() > 0.01  # else anything would do
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_an_efficientnet_of_transformers_without_two_labels_or_a_part_is_refused(tmp_path):
    model = efficientnet({0: "one", 1: "two"}, SIDE)
    lay(tmp_path, files_of(model, tmp_path))
    processor = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": SIDE}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(WeightsError, match="--fake-label"):
        read("facetorch-b7", tmp_path)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("classifier")}
    safetensors.torch.save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="lacks 2 parts"):
        read_network(SOURCES["facetorch-b7"], tmp_path, {}, "two")


@pytest.mark.parametrize("labels", [{0: "fake", 1: "real"}, {0: "real", 1: "fake"}])
def test_a_voice_classifier_points_our_way_whatever_its_labels_order(tmp_path, labels):
    model = wav2vec2(labels, **TINY_VOICE)
    lay(tmp_path, files_of(model, tmp_path))
    public = read("wav2vec2-deepfake", tmp_path)
    sound = torch.from_numpy(public.examples[0])
    prepared = (sound - sound.mean(1, keepdim=True)) / sound.std(1, keepdim=True, correction=0)
    with torch.no_grad():
        probability = model(prepared).logits.softmax(1)
        found = torch.sigmoid(public.network(sound))
    fake = next(index for index, name in labels.items() if name == "fake")
    torch.testing.assert_close(found, probability[:, fake], rtol=1e-3, atol=1e-4)
    assert public.parameters["fake_index"] == fake


@pytest.mark.parametrize(
    ("labels", "index"),
    [
        ({"0": "bonafide", "1": "spoof"}, 1),
        ({"1": "Bona-Fide", "0": "Spoof"}, 0),
        ({"0": "AI_Generated", "1": "human voice"}, 0),
        ({"0": "LABEL_0", "1": "LABEL_1"}, None),
        ({"0": "fake", "1": "deepfake"}, None),
        ({"0": "fake", "1": "real", "2": "unsure"}, None),
        ({"0": "fake"}, None),
    ],
)
def test_labels_are_read_and_never_guessed(labels, index):
    if index is None:
        with pytest.raises(WeightsError, match=r"can't be told|two labels"):
            fake_index({"id2label": labels}, "config.json")
        return
    assert fake_index({"id2label": labels}, "config.json") == index


def test_a_person_can_say_what_a_label_means(tmp_path):
    labels = {"0": "LABEL_0", "1": "LABEL_1"}
    assert fake_index({"id2label": labels}, "config.json", "LABEL_0") == 0
    with pytest.raises(WeightsError, match="no label is called"):
        fake_index({"id2label": labels}, "config.json", "fake")


def test_a_pickle_of_transformers_is_read_like_safetensors(tmp_path):
    model = wav2vec2(**TINY_VOICE)
    files_of(model, tmp_path)
    one = read("wav2vec2-deepfake", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    other = read("wav2vec2-deepfake", tmp_path)
    sound = torch.from_numpy(one.examples[1])
    with torch.no_grad():
        torch.testing.assert_close(one.network(sound), other.network(sound))


def test_videomae_needs_a_trained_head_and_points_our_way(tmp_path):
    small = {**TINY, "image_size": 32, "patch_size": 8}
    model = videomae({0: "Fake", 1: "Real"}, **small)
    files_of(model, tmp_path)
    public = read("videomae-deepfake", tmp_path)
    clips = torch.from_numpy(public.examples[0])
    with torch.no_grad():
        probability = model(((clips / 255 - MEAN) / STD).movedim(-1, 2)).logits.softmax(1)
        found = torch.sigmoid(public.network(clips))
    torch.testing.assert_close(found, probability[:, 0], rtol=1e-3, atol=1e-4)

    base = transformers.VideoMAEForPreTraining(model.config)
    for path in tmp_path.iterdir():
        path.unlink()
    base.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="no trained classifier"):
        read("videomae-deepfake", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = ["VideoMAEForVideoClassification"]  # it says so, and has none
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="lacks"):
        read("videomae-deepfake", tmp_path)


def test_gend_is_rebuilt_from_its_tensors_and_index_1_is_fake(tmp_path):
    model = GenD(**TINY_TOWER)
    lay(tmp_path, files_of_gend(model))
    public = read("gend-clip-l14", tmp_path)
    side = public.parameters["side"]
    assert side == TINY_TOWER["image_size"]
    images = faces(3, side)
    clip = transformers.CLIPImageProcessor(do_resize=False, do_center_crop=False)
    values = clip(list(images.numpy()), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        wanted = model(values).softmax(1)[:, 1]
        found = torch.sigmoid(public.network(images))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    config = {"backbone": "vit_pe_core_large_patch14_336", "head": "LinearNorm"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="only those on CLIP"):
        read("gend-clip-l14", tmp_path)
