"""The contract network: tensors, frozen and tuned parts, masks, missing modalities, dropout."""

from __future__ import annotations

import copy
import math

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")
pytest.importorskip("transformers", reason="transformers is in the extra 'train'")

from contract_windows import SAMPLES, TOKENS, made_windows, settle  # noqa: E402
from torch import nn  # noqa: E402

from aura.errors import UsageError  # noqa: E402
from aura.training.contract.config import ContractConfig, read_config  # noqa: E402
from aura.training.contract.describe import random_targets, without_weights  # noqa: E402
from aura.training.contract.encoders import BATCH_NORM_MOMENTUM, SpeechEncoder  # noqa: E402
from aura.training.contract.fusion import build_fusion  # noqa: E402
from aura.training.contract.losses import contract_loss  # noqa: E402
from aura.training.contract.network import (  # noqa: E402
    ContractNetwork,
    Outputs,
    Windows,
    drop_modalities,
)

# Adding the same to each key changes no softmax, so these biases rightly have no gradient.
NO_GRADIENT = (".k_proj.bias", "fusion.key.bias")


def build(config: ContractConfig) -> ContractNetwork:
    torch.manual_seed(11)
    return ContractNetwork(without_weights(config)).eval()


@pytest.fixture(scope="module")
def full() -> ContractNetwork:
    """The full-size network with random weights, built once; tests leave it as they found it."""
    return settle(build(read_config("full")), made_windows())


@pytest.fixture(scope="module")
def small() -> ContractNetwork:
    return build(read_config("small"))


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


def run(network: ContractNetwork, windows: Windows) -> Outputs:
    with torch.no_grad():
        found: Outputs = network(*windows)
    return found


JUDGEMENTS = ("logits", "manipulation", "disagreement", "video", "fused", "joint")


def same(one: Outputs, other: Outputs) -> bool:
    """All judgements are equal, and the scores of the frames that were seen."""
    frames = [found.frame_scores[found.frame_mask] for found in (one, other)]
    return torch.equal(*frames) and all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in JUDGEMENTS
    )


def finite(outputs: Outputs) -> bool:
    return all(bool(value.isfinite().all()) for value in outputs)


# --- the full size -------------------------------------------------------------------------------


def test_full_size_tensors_are_the_contract_s_at_every_interface(full: ContractNetwork) -> None:
    windows = made_windows()
    entered = {}
    hooks = [
        full.appearance.register_forward_hook(
            lambda _, __, out: entered.update(appearance=out.shape)
        ),
        full.temporal.register_forward_hook(
            lambda _, given, out: entered.update(into_temporal=given[0].shape, temporal=out.shape)
        ),
        full.heads.classifier.register_forward_hook(
            lambda _, given, out: entered.update(into_classifier=given[0].shape)
        ),
    ]
    with torch.no_grad():
        encoded = full.encode(windows)
        found = full.decide(encoded)
    for hook in hooks:
        hook.remove()
    assert {name: tuple(shape) for name, shape in entered.items()} == {
        "appearance": (10, 1536),
        "into_temporal": (2, 5, 1538),
        "temporal": (2, 5, 2048),
        "into_classifier": (2, 2560),
    }
    assert tuple(encoded.speech.shape) == (2, TOKENS, 768)
    assert {name: tuple(value.shape) for name, value in found._asdict().items()} == {
        "logits": (2, 2),
        "manipulation": (2,),
        "disagreement": (2,),
        "frame_scores": (2, 5),
        "frame_states": (2, 5, 2048),
        "video": (2, 2048),
        "audio": (2, TOKENS, 512),
        "fused": (2, 512),
        "joint": (2, 2560),
        "attention": (2, 5, TOKENS),
        "landmarks": (2, 5, 0),
        "head_pose": (2, 5, 0),
        "frame_mask": (2, 5),
        "speech_mask": (2, TOKENS),
        "has_video": (2,),
        "has_audio": (2,),
    }
    assert full.fusion.heads == 4
    assert full.temporal.conv.kernel_size == (3,)
    assert full.temporal.conv.stride == (1,)
    assert finite(found)


def test_one_full_size_step_moves_what_is_tuned_and_nothing_that_is_frozen(
    full: ContractNetwork,
) -> None:
    windows = made_windows()
    # The stand-in for no video is trained by windows without one.
    windows.frame_mask[1] = False
    targets = random_targets(run(full, windows))
    before = {name: value.clone() for name, value in full.state_dict().items()}
    trained = {name: value for name, value in full.named_parameters() if value.requires_grad}
    # Without decay: only a gradient can move a weight.
    optimiser = torch.optim.AdamW(trained.values(), lr=1e-4, weight_decay=0.0)
    full.train()
    torch.manual_seed(4)
    try:
        outputs = full(*windows)
        loss = contract_loss(outputs, targets, full.config.loss)["total"]
        loss.backward()
        optimiser.step()
        gradients = {name: value.grad for name, value in trained.items()}
        after = {name: value.clone() for name, value in full.state_dict().items()}
    finally:
        full.load_state_dict(before)
        full.zero_grad(set_to_none=True)
        full.eval()
    assert outputs.has_video.tolist() == [True, False]  # modality dropout took nothing this time
    assert outputs.has_audio.tolist() == [True, True]
    assert math.isfinite(loss.item())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name, value in gradients.items() if value is None]
    still = [name for name in trained if name not in moved and not name.endswith(NO_GRADIENT)]
    assert still == []
    assert moved <= set(trained)  # neither frozen weights nor running statistics
    frozen = set(dict(full.named_parameters())) - set(trained)
    lower = ("feature_extractor", "feature_projection", "pos_conv_embed", "encoder.layer_norm")
    first_layers = tuple(f"encoder.layers.{index}." for index in range(8))
    assert {name for name in frozen if any(part in name for part in (*lower, *first_layers))} == (
        frozen
    )
    for index in range(12):
        layer = {name for name in before if f"speech.network.encoder.layers.{index}." in name}
        assert layer
        assert (layer <= frozen) == (index < 8)


def test_full_size_masks_hide_garbage_and_show_the_rest(full: ContractNetwork) -> None:
    windows = made_windows()
    windows.frame_mask[0, 3] = False
    windows.speech_mask[0, :6000] = False
    spoilt = Windows(*(value.clone() for value in windows))
    spoilt.frames[0, 3] = math.nan
    spoilt.motion[0, 3:] = math.nan  # into the masked frame, and from it
    spoilt.sound[0, :6000] = 1e6
    reference = run(full, windows)
    assert same(reference, run(full, spoilt))
    seen = Windows(*(value.clone() for value in windows))
    seen.frames[0, 2] = seen.frames[0, 4]
    assert not torch.allclose(reference.logits[0], run(full, seen).logits[0], atol=1e-4)
    heard = Windows(*(value.clone() for value in windows))
    heard.sound[0, 6000:] = heard.sound[0, 6000:].flip(0)
    changed = run(full, heard)
    assert not torch.allclose(reference.fused[0], changed.fused[0], atol=1e-4)
    assert torch.allclose(reference.logits[1], changed.logits[1], atol=1e-5)  # another window


# --- masks and missing modalities, on the stand-ins ----------------------------------------------


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


# --- gradients -----------------------------------------------------------------------------------

HEADS = ("logits", "manipulation", "disagreement", "frame_scores", "landmarks", "head_pose")


@pytest.fixture(scope="module")
def with_all_heads() -> ContractNetwork:
    heads = {"landmarks": True, "head_pose": True}
    return build(read_config("small").changed(heads=heads))


@pytest.mark.parametrize("head", HEADS)
def test_each_head_has_a_gradient_that_reaches_its_encoders(
    with_all_heads: ContractNetwork, head: str
) -> None:
    network = with_all_heads
    network.zero_grad(set_to_none=True)
    getattr(network(*made_windows(batch=1)), head).square().sum().backward()
    reached = {
        name: any(
            value.grad is not None and float(value.grad.abs().max()) > 0
            for value in part.parameters()
            if value.requires_grad
        )
        for name, part in network.parts().items()
    }
    of_sound = {"speech", "speech_projection", "fusion"}
    unreached = of_sound if head in {"landmarks", "head_pose"} else set()
    assert {name for name, touched in reached.items() if not touched} == unreached
    own = {"logits": "classifier", "frame_scores": "frames"}.get(head, head)
    gradient = getattr(network.heads, own).weight.grad
    assert gradient is not None
    assert float(gradient.abs().max()) > 0
    network.zero_grad(set_to_none=True)


def test_every_parameter_has_a_gradient_even_where_nobody_speaks(small: ContractNetwork) -> None:
    """Distributed training waits for each of them."""
    windows = made_windows()
    windows.speech_mask[:] = False
    targets = random_targets(run(small, windows))
    small.zero_grad(set_to_none=True)
    contract_loss(small(*windows), targets, small.config.loss)["total"].backward()
    trained = {name: value for name, value in small.named_parameters() if value.requires_grad}
    assert [name for name, value in trained.items() if value.grad is None] == []
    assert all(bool(value.grad.isfinite().all()) for value in trained.values())
    small.zero_grad(set_to_none=True)


# --- modes ---------------------------------------------------------------------------------------


def test_modality_dropout_hides_one_of_both_in_training_only() -> None:
    network = build(read_config("small").changed(modality_dropout=0.9))
    windows = made_windows(batch=6)
    assert bool(run(network, windows).has_video.all())
    assert bool(run(network, windows).has_audio.all())
    torch.manual_seed(1)
    found = run(network.train(), windows)
    network.eval()
    hidden = ~found.has_video | ~found.has_audio
    assert bool(hidden.any())
    assert bool((found.has_video | found.has_audio).all())  # never both


def test_modality_dropout_has_the_contract_s_share_and_spares_a_single_modality() -> None:
    torch.manual_seed(2)
    count = 20_000
    seen, heard = torch.ones(count, 5, dtype=torch.bool), torch.ones(count, 7, dtype=torch.bool)
    heard[: count // 2] = False
    kept_seen, kept_heard = drop_modalities(seen, heard, read_config("full").modality_dropout)
    assert bool(kept_seen[: count // 2].all())
    both = slice(count // 2, None)
    no_face, no_voice = ~kept_seen[both].any(dim=1), ~kept_heard[both].any(dim=1)
    assert not bool((no_face & no_voice).any())
    assert float(no_face.float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float(no_voice.float().mean()) == pytest.approx(0.1, abs=0.01)


def test_frozen_batch_norms_stay_in_evaluation_and_learned_ones_move_slowly() -> None:
    frozen = build(read_config("small")).train()
    norms = [module for module in frozen.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    learning = build(
        read_config("small").changed(appearance={"batch_norm": "batch", "pretrained": None})
    ).train()
    norms = [module for module in learning.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.training for norm in norms)
    assert {norm.momentum for norm in norms} == {BATCH_NORM_MOMENTUM}


def test_frozen_speech_layers_have_no_dropout_in_training() -> None:
    config = read_config("small").changed(speech={"frozen_layers": 2}).speech
    torch.manual_seed(3)
    encoder = SpeechEncoder(config).train()
    layers = encoder.network.encoder.layers
    modes = [any(m.training for m in layer.modules()) for layer in layers]
    assert modes == [False, False, True, True]
    encoder.eval()
    assert not any(m.training for m in encoder.modules())


def test_evaluation_repeats_itself_and_a_batch_is_judged_window_by_window(
    small: ContractNetwork,
) -> None:
    windows = made_windows()
    both = run(small, windows)
    assert same(both, run(small, windows))
    alone = run(small, Windows(*(value[1:] for value in windows)))
    assert torch.allclose(both.logits[1:], alone.logits, atol=1e-5)


# --- strange input -------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [5, 10])
def test_windows_of_five_to_ten_frames_are_taken(small: ContractNetwork, frames: int) -> None:
    assert tuple(run(small, made_windows(1, frames)).frame_scores.shape) == (1, frames)


@pytest.mark.parametrize(
    "change",
    [
        {"frames": torch.zeros(2, 3, 224, 224)},
        {"frame_mask": torch.ones(2, 5)},
        {"motion": torch.zeros(2, 5, 3)},
        {"sound": torch.zeros(1, SAMPLES)},
        {"speech_mask": torch.ones(2, TOKENS, dtype=torch.bool)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_tensors_of_another_shape_are_refused_by_name(
    small: ContractNetwork, change: dict[str, torch.Tensor]
) -> None:
    name = next(iter(change))
    with pytest.raises(UsageError, match=name):
        run(small, made_windows()._replace(**change))


def test_too_few_frames_and_too_little_sound_are_refused(small: ContractNetwork) -> None:
    with pytest.raises(UsageError, match="5 to 10 frames"):
        run(small, made_windows(frames=4))
    windows = made_windows()
    short = windows._replace(sound=windows.sound[:, :300], speech_mask=windows.speech_mask[:, :300])
    with pytest.raises(UsageError, match="300 samples"):
        run(small, short)


def test_silence_and_a_constant_are_finite(small: ContractNetwork) -> None:
    windows = made_windows()
    windows.sound[0] = 0.0
    windows.sound[1] = 0.7
    windows.frames[:] = 0.0
    assert finite(run(small, windows))


@pytest.mark.parametrize("head", HEADS)
def test_the_gradient_of_each_head_is_the_numerical_one(
    with_all_heads: ContractNetwork, head: str
) -> None:
    """From the encoders' features on, in float64, with a masked frame and masked sound."""
    network = copy.deepcopy(with_all_heads).double()
    windows = made_windows(batch=1)
    windows.frame_mask[0, 1] = False
    windows.speech_mask[0, :7000] = False
    with torch.no_grad():
        encoded = with_all_heads.encode(windows)
    features = [encoded.appearance.double(), encoded.speech.double()]

    def judge(appearance: torch.Tensor, speech: torch.Tensor) -> torch.Tensor:
        changed = encoded._replace(appearance=appearance, speech=speech)
        outputs: Outputs = network.decide(changed)
        found: torch.Tensor = getattr(outputs, head)
        return found

    features = [value.requires_grad_() for value in features]
    assert torch.autograd.gradcheck(judge, features, fast_mode=True)


# --- what each mask is for -----------------------------------------------------------------------


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
