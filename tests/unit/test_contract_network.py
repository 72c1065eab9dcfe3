"""The contract network: tensors, frozen and tuned parts, gradients, modes, strange input."""

from __future__ import annotations

import copy
import math

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")
pytest.importorskip("transformers", reason="transformers is in the extra 'train'")

from torch import nn  # noqa: E402

from aura.errors import UsageError  # noqa: E402
from aura.training.contract.config import read_config  # noqa: E402
from aura.training.contract.describe import random_targets  # noqa: E402
from aura.training.contract.encoder import BATCH_NORM_MOMENTUM  # noqa: E402
from aura.training.contract.encoders import SpeechEncoder  # noqa: E402
from aura.training.contract.losses import contract_loss  # noqa: E402
from aura.training.contract.network import (  # noqa: E402
    ContractNetwork,
    Outputs,
    Windows,
    drop_modalities,
)
from contract_windows import SAMPLES, TOKENS, build, finite, made_windows, run, same, settle  # noqa: E402

# Adding the same to each key changes no softmax, so these biases rightly have no gradient.
NO_GRADIENT = (".k_proj.bias", "fusion.key.bias")


@pytest.fixture(scope="module")
def full() -> ContractNetwork:
    """The full-size network with random weights, built once; tests leave it as they found it."""
    return settle(build(read_config("full")), made_windows().frames.flatten(0, 1))


@pytest.fixture(scope="module")
def small() -> ContractNetwork:
    return build(read_config("small"))


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
