"""Encoders that begin from the networks in the package: they answer as those networks do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from aura.errors import UsageError, WeightsError
from aura.hearing import EDGE, FFT_SIZE, HOP, MEL_FRAMES, log_mel, normalise
from aura.runtime import load_model, weights_dir
from aura.training.contract import shipped
from aura.training.contract.config import Pretrained, read_config
from aura.training.contract.encoders import Lite2, build_appearance, build_speech
from aura.training.contract.network import ContractNetwork, Windows
from aura.training.contract.whisper import LogMel, WhisperStem

if TYPE_CHECKING:
    from pathlib import Path


def speechlike(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    time = np.arange(count) / 16_000
    voiced = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20))
    return (
        0.05 * voiced * (1 + np.sin(2 * np.pi * 3 * time)) + random.normal(0, 1e-3, count)
    ).astype(np.float32)


def test_the_face_encoder_gives_the_shipped_detectors_score() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (3, 3, 224, 224)).astype(np.float32)
    encoder = build_appearance(read_config("quick").appearance).eval()
    head = {
        one.name: numpy_helper.to_array(one).astype(np.float32)
        for one in onnx.load(str(weights_dir() / "visual-lite.onnx")).graph.initializer
        if one.name.startswith("tails.blend.head")
    }
    with torch.no_grad():
        features = encoder(torch.from_numpy(faces)).numpy()
    logits = features @ head["tails.blend.head.weight"][0] + head["tails.blend.head.bias"]
    wanted = load_model("visual-lite", "cpu").run({"images": faces})["logits"][:, 0]
    assert np.abs(wanted).max() > 0.5
    # The detector rounds what goes into its pointwise convolutions to 8 bits, the encoder does not.
    np.testing.assert_allclose(logits, wanted, atol=0.05)


def test_the_log_mel_is_that_of_the_detector() -> None:
    sound = speechlike(16_000)
    padded = np.pad(sound, (EDGE, EDGE))
    wanted = normalise(log_mel(padded)[:, : len(sound) // HOP])
    got = LogMel()(torch.from_numpy(sound)[None])[0].numpy()
    assert len(padded) >= FFT_SIZE
    np.testing.assert_allclose(got, wanted, atol=2e-3)


def test_the_speech_encoder_gives_the_shipped_features() -> None:
    sound = speechlike(MEL_FRAMES * HOP)
    encoder = build_speech(read_config("quick").speech).eval()
    assert isinstance(encoder, WhisperStem)
    with torch.no_grad():
        states, tokens = encoder(
            torch.from_numpy(sound)[None], torch.ones(1, len(sound), dtype=torch.bool)
        )
    pairs = states[0].reshape(-1, 2, states.shape[-1]).mean(dim=1).numpy()
    mel = encoder.log_mel(torch.from_numpy(sound)[None]).numpy()
    wanted = load_model("whisper-tiny-stem", "cpu").run({"mel": mel})["features"][0]
    assert tokens.all()
    assert wanted.std() > 0.3
    assert np.abs(pairs - wanted).max() < 5e-3


def test_masked_sound_reaches_no_output() -> None:
    encoder = build_speech(read_config("quick").speech).eval()
    sound = torch.from_numpy(speechlike(16_000))[None]
    speech = torch.ones(1, 16_000, dtype=torch.bool)
    speech[:, 6_400:9_600] = False
    other = sound.clone()
    other[:, 6_400:9_600] = 0.5 * torch.randn(1, 3_200)
    with torch.no_grad():
        first, tokens = encoder(sound, speech)
        second, _ = encoder(other, speech)
        heard, _ = encoder(other, torch.ones_like(speech))
    assert tokens[0].sum() == 40
    assert torch.equal(first, second)
    assert not torch.allclose(first, heard, atol=1e-2)


def test_the_quick_network_trains_only_what_stands_on_its_encoders() -> None:
    torch.manual_seed(0)
    network = ContractNetwork(read_config("quick")).train()
    moving = {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad}
    assert moving == {"temporal", "speech_projection", "no_video", "fusion", "heads"}
    windows = Windows(
        torch.randint(0, 256, (2, 5, 3, 224, 224)).float(),
        torch.rand(2, 5, 2),
        torch.ones(2, 5, dtype=torch.bool),
        torch.from_numpy(np.stack([speechlike(16_000), speechlike(16_000, 1)])),
        torch.ones(2, 16_000, dtype=torch.bool),
    )
    outputs = network(*windows)
    outputs.logits.sum().backward()
    assert outputs.attention.shape == (2, 5, 50)
    assert network.temporal.conv.weight.grad is not None  # type: ignore[union-attr]
    assert not network.appearance.tail.training  # type: ignore[union-attr]


def test_a_shipped_network_that_was_altered_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("visual-lite.json", "visual-lite.onnx"):
        (tmp_path / name).write_bytes((weights_dir() / name).read_bytes())
    with (tmp_path / "visual-lite.onnx").open("ab") as stream:
        stream.write(b"x")
    monkeypatch.setattr(shipped, "weights_dir", lambda: tmp_path)
    shipped._graph.cache_clear()
    with pytest.raises(WeightsError, match="reinstall"):
        Lite2(read_config("quick").appearance)
    shipped._graph.cache_clear()


@pytest.mark.parametrize("part", ["appearance", "speech"])
def test_a_source_that_nobody_ships_is_refused(part: str) -> None:
    elsewhere = Pretrained(source="somewhere/else").model_dump()
    config = read_config("quick").changed(**{part: {"pretrained": elsewhere}})
    with pytest.raises(UsageError, match="weights from"):
        ContractNetwork(config)
