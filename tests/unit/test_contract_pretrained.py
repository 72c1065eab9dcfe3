"""Pretrained encoders: read from safetensors, pinned, and refused in words a person can act on.

The public checkpoints can't be had here, so small ones with random weights and the same layout,
task heads included, stand in for them.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")
transformers = pytest.importorskip("transformers", reason="transformers is in the extra 'train'")

from aura.errors import UsageError, WeightsError  # noqa: E402
from aura.training.contract.__main__ import main  # noqa: E402
from aura.training.contract.config import ContractConfig, Pretrained, read_config  # noqa: E402
from aura.training.contract.encoders import EfficientNet, SpeechEncoder  # noqa: E402
from aura.training.contract.network import ContractNetwork  # noqa: E402
from aura.training.contract.pretrained import (  # noqa: E402
    ORIGIN,
    PICKLE,
    SAFETENSORS,
    convert,
    fetch,
    store_folder,
)

FACE, VOICE = "google/tiny-efficientnet", "facebook/tiny-wav2vec2"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FACE_SIZES = {"width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320}
VOICE_SIZES = {
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}


def tiny(**parts: object) -> ContractConfig:
    face = {"kind": "efficientnet", "width": 320, "architecture": FACE_SIZES}
    face["pretrained"] = {"source": FACE, "revision": COMMIT}
    voice = {"hidden": 24, "layers": 3, "frozen_layers": 2, "architecture": VOICE_SIZES}
    voice["pretrained"] = {"source": VOICE, "revision": COMMIT}
    return read_config("small").changed(appearance=face, speech=voice).changed(**parts)


def speech_config(kind: str = "Wav2Vec2") -> transformers.PretrainedConfig:
    sizes = {**VOICE_SIZES, "hidden_size": 24, "num_hidden_layers": 3, "vocab_size": 8}
    return getattr(transformers, f"{kind}Config")(**sizes)


def save(model: transformers.PreTrainedModel, store: Path, source: str) -> Path:
    folder = store_folder(store, source)
    model.save_pretrained(folder)
    origin = {"source": source, "revision": COMMIT}
    (folder / ORIGIN).write_text(json.dumps(origin), encoding="utf-8")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with both encoders, saved with task heads as the public ones are."""
    torch.manual_seed(0)
    face = transformers.EfficientNetConfig(**FACE_SIZES)
    save(transformers.EfficientNetForImageClassification(face), tmp_path, FACE)
    save(transformers.Wav2Vec2ForCTC(speech_config()), tmp_path, VOICE)
    return tmp_path


def saved(folder: Path, ending: str) -> torch.Tensor:
    from safetensors.torch import load_file

    state = load_file(folder / SAFETENSORS)
    return next(value for name, value in state.items() if name.endswith(ending))


def to_pickle(folder: Path) -> Path:
    """What older hub entries offer: the same weights, pickled, and no safetensors."""
    from safetensors.torch import load_file

    torch.save(load_file(folder / SAFETENSORS), folder / PICKLE)
    (folder / SAFETENSORS).unlink()
    return folder / PICKLE


def test_a_network_takes_both_encoders_from_the_store(store: Path) -> None:
    network = ContractNetwork(tiny(), store)
    face, voice = store_folder(store, FACE), store_folder(store, VOICE)
    state = network.state_dict()
    stem = state["appearance.network.embeddings.convolution.weight"]
    assert torch.equal(stem, saved(face, "embeddings.convolution.weight"))
    query = "encoder.layers.2.attention.q_proj.weight"
    assert torch.equal(state[f"speech.network.{query}"], saved(voice, query))
    frozen = [
        value.requires_grad for value in network.speech.network.encoder.layers[1].parameters()
    ]
    assert not any(frozen)


def test_hubert_is_read_as_well(tmp_path: Path) -> None:
    folder = save(transformers.HubertModel(speech_config("Hubert")), tmp_path, VOICE)
    encoder = SpeechEncoder(tiny(speech={"kind": "hubert"}).speech, tmp_path)
    name = "encoder.layers.0.attention.k_proj.weight"
    assert torch.equal(encoder.network.state_dict()[name], saved(folder, name))


def test_dropouts_of_a_checkpoint_that_skip_layers_are_switched_off(store: Path) -> None:
    assert SpeechEncoder(tiny().speech, store).network.config.layerdrop == 0.0


def test_weights_that_are_not_here_are_named_with_the_command_that_gets_them() -> None:
    with pytest.raises(WeightsError, match=r"facebook/wav2vec2-base.*contract fetch"):
        SpeechEncoder(read_config("full").speech)


def test_a_hub_name_without_a_commit_is_refused(tmp_path: Path) -> None:
    face = tiny(appearance={"pretrained": {"source": FACE}}).appearance
    with pytest.raises(WeightsError, match=r"no commit of it is pinned.*fetch"):
        EfficientNet(face, tmp_path)
    branch = face.model_copy(update={"pretrained": Pretrained(source=FACE, revision="main")})
    with pytest.raises(WeightsError, match="no commit"):
        EfficientNet(branch, tmp_path)


def test_a_store_with_another_commit_is_refused(store: Path) -> None:
    origin = store_folder(store, FACE) / ORIGIN
    origin.write_text(json.dumps({"revision": "f" * 40}), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"f{40}, the configuration pins 0123"):
        EfficientNet(tiny().appearance, store)
    origin.write_text("[]", encoding="utf-8")
    with pytest.raises(WeightsError, match="can't be read"):
        EfficientNet(tiny().appearance, store)


def test_a_checkpoint_of_another_size_is_refused(store: Path) -> None:
    heads = {"architecture": {**VOICE_SIZES, "num_attention_heads": 4}}
    with pytest.raises(WeightsError, match="num_attention_heads is 2, the configuration wants 4"):
        SpeechEncoder(tiny(speech=heads).speech, store)


def test_a_checkpoint_of_another_network_is_refused(store: Path) -> None:
    speech, face = store_folder(store, VOICE), store_folder(store, FACE)
    (speech / SAFETENSORS).write_bytes((face / SAFETENSORS).read_bytes())
    with pytest.raises(WeightsError, match="another network's checkpoint"):
        SpeechEncoder(tiny().speech, store)


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_torn_file_is_refused(store: Path, kept: int) -> None:
    weights = store_folder(store, VOICE) / SAFETENSORS
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=VOICE):
        SpeechEncoder(tiny().speech, store)


def test_a_pickle_is_not_opened_but_can_be_converted(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = store_folder(store, VOICE)
    before = saved(folder, "encoder.layers.1.attention.v_proj.weight")
    to_pickle(folder)
    with pytest.raises(WeightsError, match=r"is a pickle.*contract convert"):
        SpeechEncoder(tiny().speech, store)
    assert main(["convert", "--checkpoint", str(folder)]) == 0
    assert SAFETENSORS in capsys.readouterr().out
    assert not (folder / PICKLE).exists()
    state = SpeechEncoder(tiny().speech, store).network.state_dict()
    assert torch.equal(state["encoder.layers.1.attention.v_proj.weight"], before)


class Trap:
    """Runs code when a careless reader opens the pickle."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    folder = tmp_path / "bad"
    folder.mkdir()
    torch.save({"weight": Trap(sprung)}, folder / PICKLE)
    with pytest.raises(WeightsError, match="more than tensors"):
        convert(folder)
    (folder / PICKLE).write_bytes(pickle.dumps(Trap(sprung), protocol=2))
    with pytest.raises(WeightsError, match="more than tensors"):
        convert(folder)
    assert not sprung.exists()
    assert (folder / PICKLE).exists()
    assert not (folder / SAFETENSORS).exists()


def test_convert_says_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no pytorch_model\.bin"):
        convert(tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        convert(tmp_path / "nowhere")


def hub(store: Path) -> tuple[list[str], object]:
    """A stand-in for the hub's client: serves the store's folders as snapshots."""
    asked: list[str] = []

    def download(source: str, *, revision: str | None, cache_dir: str, **_: object) -> str:
        asked.append(source)
        snapshot = Path(cache_dir) / "snapshots" / (revision or COMMIT)
        snapshot.mkdir(parents=True)
        for path in store_folder(store, source).iterdir():
            if path.name != ORIGIN:
                (snapshot / path.name).write_bytes(path.read_bytes())
        return str(snapshot)

    return asked, download


def test_fetch_fills_a_store_once_and_converts_a_pickle(store: Path, tmp_path: Path) -> None:
    to_pickle(store_folder(store, VOICE))
    target = tmp_path / "new" / "store"
    asked, download = hub(store)
    unpinned = tiny(appearance={"pretrained": {"source": FACE}})
    assert fetch(unpinned, target, download) == [(FACE, COMMIT), (VOICE, COMMIT)]
    ContractNetwork(unpinned, target)
    fetch(unpinned, target, download)
    assert asked == [FACE, VOICE]
    assert sorted(path.name for path in target.iterdir()) == sorted(
        store_folder(target, source).name for source in (FACE, VOICE)
    )


def test_a_download_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def download(*_: object, **__: object) -> str:
        raise ConnectionError("no route to host")

    with pytest.raises(WeightsError, match=r"google/tiny-efficientnet.*no route"):
        fetch(tiny(), tmp_path / "store", download)
    assert list((tmp_path / "store").iterdir()) == []


def test_the_stand_ins_need_no_hub(tmp_path: Path) -> None:
    assert fetch(read_config("small"), tmp_path) == []
