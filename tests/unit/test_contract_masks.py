"""Masks of the contract network, and what it does where a modality is missing; on the stand-ins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")
pytest.importorskip("transformers", reason="transformers is in the extra 'train'")

from aura.training.contract.config import read_config  # noqa: E402
from aura.training.contract.fusion import build_fusion  # noqa: E402
from aura.training.contract.network import ContractNetwork, Windows  # noqa: E402
from aura.training.contract.temporal import build_temporal  # noqa: E402
from contract_windows import TOKENS, build, finite, made_windows, run, same  # noqa: E402

if TYPE_CHECKING:
    from torch import nn

VARIANTS = {
    "cross-attention": {},
    "concatenation": {"fusion": {"kind": "concatenation"}},
    "transformer": {"temporal": {"kind": "transformer", "model_width": 32}},
    "hubert": {"speech": {"kind": "hubert"}},
    "no-motion": {"enable_motion": False},
}


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> ContractNetwork:
    return build(read_config("small").changed(**VARIANTS[request.param]))


@pytest.fixture(scope="module")
def small() -> ContractNetwork:
    return build(read_config("small"))


def test_what_is_masked_changes_nothing_and_what_is_not_does(variant: ContractNetwork) -> None:
    windows = made_windows(frames=6)
    windows.frame_mask[0, 2:4] = False
    windows.speech_mask[1, 4000:9000] = False
    spoilt = Windows(*(value.clone() for value in windows))
    spoilt.frames[0, 2:4] = math.nan
    spoilt.motion[0, 2:5] = math.inf
    spoilt.motion[:, 0] = math.nan  # the first frame has no neighbour
    spoilt.sound[1, 4000:9000] = math.nan
    reference = run(variant, windows)
    assert finite(reference)
    assert same(reference, run(variant, spoilt))
    for field, place in (("frames", (0, 1)), ("sound", (1, slice(10_000, 16_000)))):
        other = Windows(*(value.clone() for value in windows))
        value = getattr(other, field)
        value[place] = value[place].flip(-1)
        row = place[0]
        assert not torch.allclose(reference.joint[row], run(variant, other).joint[row], atol=1e-5)


def test_motion_counts_where_both_neighbours_are_there_and_not_when_switched_off(
    variant: ContractNetwork,
) -> None:
    windows = made_windows()
    moved = Windows(*(value.clone() for value in windows))
    moved.motion[0, 2] += 3.0
    same_logits = torch.equal(run(variant, windows).logits, run(variant, moved).logits)
    assert same_logits == (not variant.config.enable_motion)


def test_opening_a_mask_changes_the_outcome(small: ContractNetwork) -> None:
    windows = made_windows()
    reference = run(small, windows)
    for mask, place in (("frame_mask", (0, 1)), ("speech_mask", (0, slice(8000)))):
        masked = Windows(*(value.clone() for value in windows))
        getattr(masked, mask)[place] = False
        found = run(small, masked)
        assert not torch.allclose(reference.logits[0], found.logits[0], atol=1e-5), mask
        assert torch.allclose(reference.logits[1], found.logits[1], atol=1e-5), mask


def test_attention_is_zero_on_masked_tokens_and_the_rest_goes_to_no_sound(
    small: ContractNetwork,
) -> None:
    windows = made_windows()
    windows.speech_mask[0, 8000:] = False
    found = run(small, windows)
    masked = ~found.speech_mask[0]
    assert 20 < int(masked.sum()) < 30
    assert float(found.attention[0][:, masked].abs().max()) == 0.0
    assert bool((found.attention[0][:, ~masked] > 0).all())
    total = found.attention.sum(dim=2)
    assert bool((total > 0.5).all())
    assert bool((total < 1.0).all())


@pytest.mark.parametrize("missing", ["video", "audio", "both"])
def test_a_missing_modality_gives_finite_outputs_that_no_garbage_reaches(
    variant: ContractNetwork, missing: str
) -> None:
    windows = made_windows()
    if missing in {"video", "both"}:
        windows.frame_mask[0] = False
    if missing in {"audio", "both"}:
        windows.speech_mask[0] = False
    garbage = made_windows(seed=9)
    spoilt = Windows(*(value.clone() for value in windows))
    if missing in {"video", "both"}:
        spoilt.frames[0], spoilt.motion[0] = garbage.frames[0] * 50, math.nan
    if missing in {"audio", "both"}:
        spoilt.sound[0] = math.nan
    found = run(variant, windows)
    assert finite(found)
    assert same(found, run(variant, spoilt))
    assert found.has_video.tolist() == [missing == "audio", True]
    assert found.has_audio.tolist() == [missing == "video", True]
    everything = run(variant, made_windows())
    assert not torch.allclose(found.logits[0], everything.logits[0], atol=1e-5)
    assert torch.allclose(found.logits[1], everything.logits[1], atol=1e-5)


@pytest.mark.parametrize("off", ["enable_video", "enable_audio"])
def test_a_modality_that_is_switched_off_has_no_parameters_and_no_influence(off: str) -> None:
    network = build(read_config("small").changed(**{off: False}))
    windows, other = made_windows(), made_windows(seed=8)
    spoilt = (
        windows._replace(frames=other.frames, motion=other.motion)
        if off == "enable_video"
        else windows._replace(sound=other.sound)
    )
    found = run(network, windows)
    assert finite(found)
    assert same(found, run(network, spoilt))
    heard = windows._replace(sound=other.sound, frames=other.frames)
    assert not torch.allclose(found.logits, run(network, heard).logits, atol=1e-5)
    assert tuple(found.joint.shape) == (2, network.config.joint_width)
    gone = {"enable_video": {"appearance", "temporal"}, "enable_audio": {"speech"}}[off]
    assert not gone & set(network.parts())


def test_late_concatenation_has_the_same_widths_and_never_looks_at_the_video() -> None:
    network = build(read_config("small").changed(fusion={"kind": "concatenation"}))
    windows = made_windows()
    one = run(network, windows)
    two = run(network, windows._replace(frames=windows.frames.flip(1)))
    assert tuple(one.joint.shape) == (2, read_config("small").joint_width)
    assert torch.equal(one.fused, two.fused)
    assert not torch.equal(one.video, two.video)
    attends = build(read_config("small"))
    three = run(attends, windows)
    four = run(attends, windows._replace(frames=windows.frames.flip(1)))
    assert not torch.allclose(three.fused, four.fused, atol=1e-5)


def test_the_order_of_the_sound_matters_to_attention() -> None:
    """Sound that comes late is heard as late, which a mean over time can't tell."""
    network = build(read_config("small"))
    windows = made_windows()
    found = run(network, windows)
    late = run(network, windows._replace(sound=windows.sound.roll(4800, dims=1)))
    assert not torch.allclose(found.fused, late.fused, atol=1e-4)


def test_garbage_in_a_masked_frame_does_not_enter_learned_batch_statistics() -> None:
    parts = {"temporal": {"dropout": 0.0}, "fusion": {"dropout": 0.0}, "heads": {"dropout": 0.0}}
    network = build(
        read_config("small").changed(
            appearance={"batch_norm": "batch", "pretrained": None},
            speech={"architecture": {**small_speech(), **dict.fromkeys(DROPOUTS, 0.0)}},
            modality_dropout=0.0,
            **parts,
        )
    ).train()
    windows = made_windows()
    windows.frame_mask[0, 2] = False
    spoilt = Windows(*(value.clone() for value in windows))
    spoilt.frames[0, 2] = 1e4
    assert same(run(network, windows), run(network, spoilt))


DROPOUTS = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout")


def small_speech() -> dict[str, object]:
    return dict(read_config("small").speech.architecture)


def test_speech_attends_to_no_masked_token(small: ContractNetwork) -> None:
    windows = made_windows()
    windows.speech_mask[0, :8000] = False
    tokens = small.speech.token_mask(windows.speech_mask)
    with torch.no_grad():
        before, found = small.speech(windows.sound, windows.speech_mask)

        def disturb(_: nn.Module, __: object, out: tuple[torch.Tensor, ...]) -> object:
            return (torch.where(tokens[..., None], out[0], 50.0), *out[1:])

        hook = small.speech.network.feature_projection.register_forward_hook(disturb)
        after, _ = small.speech(windows.sound, windows.speech_mask)
        hook.remove()
    assert torch.equal(found, tokens)
    assert 20 < int(tokens[0].sum()) < 30
    assert torch.equal(before[tokens], after[tokens])


def test_gain_and_offset_of_the_microphone_change_nothing(small: ContractNetwork) -> None:
    windows = made_windows()
    windows.speech_mask[0, :5000] = False
    other = windows._replace(sound=windows.sound * 0.3 + 0.2)
    one, two = run(small, windows), run(small, other)
    assert torch.allclose(one.audio, two.audio, atol=1e-3)
    assert torch.allclose(one.logits, two.logits, atol=1e-3)


def test_only_seen_frames_enter_the_means(small: ContractNetwork) -> None:
    windows = made_windows()
    windows.frame_mask[0, 1:3] = False
    found = run(small, windows)
    kept = windows.frame_mask[0]
    assert torch.allclose(found.video[0], found.frame_states[0][kept].mean(dim=0), atol=1e-5)
    assert not torch.allclose(found.video[0], found.frame_states[0].mean(dim=0), atol=1e-3)


@pytest.mark.parametrize("kind", ["cross-attention", "concatenation"])
def test_attention_tells_late_sound_from_early_and_the_baseline_does_not(kind: str) -> None:
    torch.manual_seed(6)
    config = read_config("small").changed(fusion={"kind": kind}).fusion
    fusion = build_fusion(32, config).eval()
    video, sound = torch.randn(1, 5, 32), torch.randn(1, TOKENS, config.width)
    heard = torch.ones(1, TOKENS, dtype=torch.bool)
    with torch.no_grad():
        early, _ = fusion(video, sound, heard)
        late, _ = fusion(video, sound.flip(1), heard)
    assert torch.allclose(early, late, atol=1e-5) == (kind == "concatenation")


@pytest.mark.parametrize("kind", ["conv", "transformer"])
def test_a_masked_frame_tells_its_neighbours_nothing(kind: str) -> None:
    torch.manual_seed(8)
    config = read_config("small").changed(temporal={"kind": kind, "model_width": 16}).temporal
    temporal = build_temporal(6, config).eval()
    frames, mask = torch.randn(1, 5, 6), torch.tensor([[True, True, False, True, True]])
    spoilt = frames.clone()
    spoilt[0, 2] = 1e3
    with torch.no_grad():
        reference = temporal(frames, mask)[mask]
        assert torch.equal(reference, temporal(spoilt, mask)[mask])
        assert not torch.allclose(reference, temporal(frames, torch.ones_like(mask))[mask])


def test_the_temporal_transformer_attends_to_no_masked_frame() -> None:
    torch.manual_seed(8)
    config = read_config("small").changed(temporal={"kind": "transformer", "model_width": 16})
    temporal = build_temporal(6, config.temporal).eval()
    frames, mask = torch.randn(1, 5, 6), torch.tensor([[True, True, False, True, True]])
    with torch.no_grad():
        reference = temporal(frames, mask)[mask]
        hook = temporal.enter.register_forward_hook(
            lambda _, __, out: torch.where(mask[..., None], out, 50.0)
        )
        disturbed = temporal(frames, mask)[mask]
        hook.remove()
    assert torch.allclose(reference, disturbed, atol=1e-5)
