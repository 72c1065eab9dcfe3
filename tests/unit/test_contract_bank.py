"""Windows encoded in advance: the same answers as the whole network gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from aura.errors import UsageError
from aura.training.contract.bank import Bank, BankSet, Encoder, joined, load_bank, save_bank
from aura.training.contract.losses import Targets
from aura.training.contract.network import ContractNetwork, Encoded, Windows
from aura.training.contract.samples import Batch, Origin
from contract_windows import made_windows
from made_clips import seeing_config

if TYPE_CHECKING:
    from pathlib import Path

    from aura.training.contract.config import ContractConfig


def frozen_config() -> ContractConfig:
    return seeing_config().changed(appearance={"frozen": True}, speech={"frozen_layers": 1})


def made_batch(windows: int = 3, seed: int = 3) -> Batch:
    inputs = made_windows(windows, seed=seed)
    inputs.frame_mask[0, 1] = False
    inputs.speech_mask[1] = False
    label = torch.arange(windows) % 2
    none = torch.zeros(windows, 5, 0)
    frames = label[:, None].repeat(1, 5)
    targets = Targets(
        label, label.clone(), label.clone(), label.clone(), frames, none, none.clone()
    )
    origins = tuple(
        Origin(i, f"{i}.mp4", "shift", i % 2, 0.0, 1.0, (0.0, 0.2)) for i in range(windows)
    )
    return Batch(inputs, targets, origins)


def made_bank(windows: int = 3) -> tuple[ContractNetwork, Batch, Bank]:
    torch.manual_seed(0)
    network = ContractNetwork(frozen_config())
    batch = made_batch(windows)
    return network, batch, Encoder(network).encode(batch)


def test_what_stands_on_a_bank_answers_as_the_whole_network() -> None:
    network, batch, bank = made_bank()
    with torch.no_grad():
        wanted = network(*batch.inputs)
        got = network.decide(BankSet(bank, network.config).shown(0, 3))
    assert torch.equal(got.has_audio, torch.tensor([True, False, True]))
    assert wanted.logits.std() > 0
    torch.testing.assert_close(got.logits, wanted.logits, atol=5e-3, rtol=0)
    torch.testing.assert_close(got.frame_scores, wanted.frame_scores, atol=5e-3, rtol=0)


def test_a_known_face_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = ContractNetwork(frozen_config())
    encoder, batch = Encoder(network), made_batch()
    encoder.encode(batch)
    seen: list[int] = []
    monkeypatch.setattr(
        network.appearance, "forward", lambda faces: seen.append(len(faces)), raising=True
    )
    encoder.encode(batch)
    assert seen == []


def test_an_encoder_that_trains_is_refused() -> None:
    with pytest.raises(UsageError, match="appearance encoder trains"):
        Encoder(ContractNetwork(seeing_config().changed(speech={"frozen_layers": 1})))


def test_a_bank_survives_its_file(tmp_path: Path) -> None:
    _, _, bank = made_bank()
    save_bank(tmp_path / "a.safetensors", bank)
    again = load_bank(tmp_path / "a.safetensors")
    assert again.origins == bank.origins
    for one, other in zip(
        [*again.inputs, *again.targets], [*bank.inputs, *bank.targets], strict=True
    ):
        assert torch.equal(one, other)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_banks_join_in_their_order() -> None:
    _, _, bank = made_bank()
    both = joined([bank, bank.chosen([2])])
    assert [one.clip for one in both.origins] == [0, 1, 2, 2]
    assert torch.equal(both.inputs.speech[3], bank.inputs.speech[2])


def test_a_modality_that_the_network_does_not_take_is_hidden() -> None:
    _, _, bank = made_bank()
    mute = BankSet(bank, frozen_config().changed(enable_audio=False)).shown(0, 3)
    blind = BankSet(bank, frozen_config().changed(enable_video=False)).shown(0, 3)
    assert mute.frame_mask.any()
    assert not mute.speech_mask.any()
    assert blind.speech_mask.any()
    assert not blind.frame_mask.any()


def test_dropped_modalities_follow_from_seed_and_epoch_alone() -> None:
    _, _, bank = made_bank()
    many = joined([bank] * 60)
    config = frozen_config().changed(modality_dropout=0.5)
    source = BankSet(many, config, seed=5, drop=True)

    def hidden(epoch: int) -> list[tuple[int, bool, bool]]:
        return [source[key] for keys in source.batches(epoch, 32) for key in keys]  # type: ignore[arg-type]

    assert hidden(1) == hidden(1)
    assert hidden(1) != hidden(2)
    drawn = hidden(0)
    assert sorted(place for place, _, _ in drawn) == list(range(180))
    assert not any(face and voice for _, face, voice in drawn)
    # Two of three windows have both modalities; half of these lose one.
    assert 35 < sum(face or voice for _, face, voice in drawn) < 85
    encoded = source.collate(drawn).inputs
    assert isinstance(encoded, Encoded)
    assert not isinstance(encoded, Windows)
    assert BankSet(many, config, seed=5, drop=True).data_hash == source.data_hash
