"""Loss terms, certainty and aggregation of the contract network; and that it learns at all."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")
pytest.importorskip("transformers", reason="transformers is in the extra 'train'")

from aura.errors import UsageError  # noqa: E402
from aura.evaluation.predictions import Frame, Prediction, Window  # noqa: E402
from aura.training.contract.__main__ import main  # noqa: E402
from aura.training.contract.aggregate import METHODS, build_aggregator, clip_score  # noqa: E402
from aura.training.contract.certainty import dropout_passes  # noqa: E402
from aura.training.contract.checkpoint import CheckpointInfo  # noqa: E402
from aura.training.contract.config import Loss, read_config  # noqa: E402
from aura.training.contract.describe import random_targets, without_weights  # noqa: E402
from aura.training.contract.ensemble import (  # noqa: E402
    check_members,
    ensembled,
    joint_sha256,
)
from aura.training.contract.losses import (  # noqa: E402
    UNKNOWN,
    Share,
    Targets,
    contract_loss,
    visible_label,
)
from aura.training.contract.network import ContractNetwork, Outputs, Windows  # noqa: E402
from contract_windows import made_windows  # noqa: E402


def made_outputs(frame_scores: list[list[float]] | None = None, **fields: object) -> Outputs:
    """Two windows of three frames, both modalities there, all scores 0 unless given."""
    scores = torch.tensor(frame_scores or [[0.0] * 3] * 2)
    batch, frames = scores.shape
    nothing = torch.zeros(batch, 0)
    whole = {
        **dict.fromkeys(Outputs._fields, nothing),
        "logits": torch.zeros(batch, 2),
        "manipulation": torch.zeros(batch),
        "disagreement": torch.zeros(batch),
        "frame_scores": scores,
        "landmarks": torch.zeros(batch, frames, 0),
        "head_pose": torch.zeros(batch, frames, 0),
        "frame_mask": torch.ones(batch, frames, dtype=torch.bool),
        "has_video": torch.ones(batch, dtype=torch.bool),
        "has_audio": torch.ones(batch, dtype=torch.bool),
        **fields,
    }
    return Outputs(**whole)


def made_targets(**fields: object) -> Targets:
    """A real and a fake window of which nothing else is known."""
    unknown = torch.full((2,), UNKNOWN)
    whole = {
        "label": torch.tensor([0, 1]),
        "visual": unknown,
        "audio": unknown,
        "disagreement": unknown,
        "frames": torch.full((2, 3), UNKNOWN),
        "landmarks": torch.zeros(2, 3, 0),
        "head_pose": torch.zeros(2, 3, 0),
        **fields,
    }
    return Targets(**whole)


def test_classification_is_cross_entropy_with_the_contract_s_smoothing() -> None:
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    terms = contract_loss(made_outputs(logits=logits), made_targets(), Loss())
    log_real, log_fake = (math.log(v) for v in (1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))))
    real = -(0.95 * log_real + 0.05 * log_fake)
    fake = -(0.95 * log_fake + 0.05 * log_real)
    assert float(terms["classification"]) == pytest.approx((real + fake) / 2, rel=1e-5)


def test_the_total_is_the_weighted_sum_with_temporal_consistency_at_a_tenth() -> None:
    outputs = made_outputs([[3.0, -3.0, 3.0], [0.0, 0.0, 0.0]])
    targets = made_targets(disagreement=torch.tensor([0, 1]))
    weights = Loss()
    terms = contract_loss(outputs, targets, weights)
    step = (1 / (1 + math.exp(-3)) - 1 / (1 + math.exp(3))) ** 2
    assert float(terms["temporal_consistency"]) == pytest.approx(step / 2, rel=1e-5)
    assert weights.temporal_consistency == 0.1
    expected = (
        float(terms["classification"])
        + 0.1 * float(terms["temporal_consistency"])
        + weights.manipulation * float(terms["manipulation"])
        + weights.disagreement * float(terms["disagreement"])
        + weights.frames * float(terms["frames"])
    )
    assert float(terms["total"]) == pytest.approx(expected, rel=1e-5)


def test_consistency_skips_masked_frames_and_the_edge_of_a_partial_fake() -> None:
    scores = [[3.0, -3.0, -3.0], [0.0, 0.0, 0.0]]
    edge = torch.tensor([[1, 0, 0], [UNKNOWN] * 3])
    terms = contract_loss(made_outputs(scores), made_targets(frames=edge), Loss())
    assert float(terms["temporal_consistency"]) == 0.0
    mask = torch.tensor([[False, True, True], [True, True, True]])
    terms = contract_loss(made_outputs(scores, frame_mask=mask), made_targets(), Loss())
    assert float(terms["temporal_consistency"]) == 0.0


def test_a_label_that_can_not_be_seen_is_not_asked_for() -> None:
    outputs = made_outputs(
        has_video=torch.tensor([True, False]), has_audio=torch.tensor([False, True])
    )
    swapped_voice = made_targets(
        label=torch.tensor([1, 1]), visual=torch.tensor([0, 0]), audio=torch.tensor([1, 1])
    )
    assert visible_label(outputs, swapped_voice).tolist() == [0, 1]
    assert visible_label(made_outputs(), swapped_voice).tolist() == [1, 1]
    assert visible_label(outputs, made_targets()).tolist() == [0, 1]
    nothing = torch.zeros(2, dtype=torch.bool)
    blind = made_outputs(has_video=nothing, has_audio=nothing)
    assert visible_label(blind, swapped_voice).tolist() == [UNKNOWN, UNKNOWN]
    assert float(contract_loss(blind, swapped_voice, Loss())["total"]) == 0.0


def test_disagreement_is_learned_where_both_modalities_were_there() -> None:
    wrong = torch.tensor([5.0, -5.0])
    targets = made_targets(disagreement=torch.tensor([0, 1]))
    both = contract_loss(made_outputs(disagreement=wrong), targets, Loss())
    assert float(both["disagreement"]) == pytest.approx(math.log1p(math.exp(5)), rel=1e-4)
    mute = made_outputs(disagreement=wrong, has_audio=torch.tensor([False, False]))
    assert float(contract_loss(mute, targets, Loss())["disagreement"]) == 0.0


def test_manipulation_is_the_share_of_manipulated_frames_where_frames_are_labelled() -> None:
    frames = torch.tensor([[0, 0, 0], [1, 1, 0]])
    share = math.log(2.0)  # logit of 2 / 3
    outputs = made_outputs(manipulation=torch.tensor([-20.0, share]))
    best = contract_loss(outputs, made_targets(frames=frames), Loss())["manipulation"]
    for other in (share - 1, share + 1):
        outputs = made_outputs(manipulation=torch.tensor([-20.0, other]))
        worse = contract_loss(outputs, made_targets(frames=frames), Loss())["manipulation"]
        assert float(worse) > float(best)


def test_a_fake_voice_behind_a_real_face_is_a_manipulation() -> None:
    targets = made_targets(
        visual=torch.tensor([0, 0]), audio=torch.tensor([0, 1]), frames=torch.zeros(2, 3).long()
    )
    right = made_outputs(manipulation=torch.tensor([-20.0, 20.0]))
    assert float(contract_loss(right, targets, Loss())["manipulation"]) < 1e-6
    mute = made_outputs(
        manipulation=torch.tensor([-20.0, -20.0]), has_audio=torch.tensor([False, False])
    )
    assert float(contract_loss(mute, targets, Loss())["manipulation"]) < 1e-6


def test_the_parts_of_a_shared_batch_average_to_the_whole() -> None:
    """Three windows of which one process has two, with other labels known in each."""
    scores = [[3.0, -1.0, 0.5], [0.0, 2.0, 1.0], [-1.0, 0.0, 4.0]]
    frames = torch.tensor([[1, 1, 0], [UNKNOWN] * 3, [0, UNKNOWN, 1]])
    label, unknown = torch.tensor([1, 0, 1]), torch.full((3,), UNKNOWN)
    logits = torch.tensor([[2.0, 0.0], [0.5, 0.0], [0.0, 3.0]])

    def loss(chosen: slice, share: Share | None) -> float:
        outputs = made_outputs(
            scores[chosen],
            logits=logits[chosen],
            **{name: torch.ones(3).bool()[chosen] for name in ("has_video", "has_audio")},
        )
        nothing = torch.zeros(len(scores[chosen]), 3, 0)
        targets = Targets(label[chosen], *[unknown[chosen]] * 3, frames[chosen], nothing, nothing)
        outputs = outputs._replace(
            **{name: torch.zeros(len(scores[chosen])) for name in ("manipulation", "disagreement")}
        )
        return float(contract_loss(outputs, targets, Loss(), share)["total"])

    counts: list[torch.Tensor] = []
    for chosen in (slice(0, 2), slice(2, 3)):
        loss(chosen, Share(lambda own: counts.append(own) or own, 2))  # type: ignore[func-returns-value]
    both = Share(lambda _: counts[0] + counts[1], 2)
    parts = [loss(slice(0, 2), both), loss(slice(2, 3), both)]
    assert sum(parts) / 2 == pytest.approx(loss(slice(0, 3), None), rel=1e-5)


def test_landmarks_and_pose_leave_out_what_nobody_measured() -> None:
    pose = torch.tensor([[[0.1, math.nan, 0.0]] * 3] * 2)
    outputs = made_outputs(head_pose=torch.zeros(2, 3, 3))
    terms = contract_loss(outputs, made_targets(head_pose=pose), Loss())
    assert float(terms["head_pose"]) == pytest.approx(0.5 * 0.1**2 / 2, rel=1e-4)
    assert "landmarks" not in terms


@pytest.fixture(scope="module")
def network() -> ContractNetwork:
    torch.manual_seed(2)
    return ContractNetwork(without_weights(read_config("small"))).eval()


def passes_of(network: ContractNetwork, windows: Windows, **options: int) -> torch.Tensor:
    with torch.no_grad():
        encoded = network.eval().encode(windows)
    return dropout_passes(network, encoded, **options)


def test_mc_dropout_spreads_repeats_itself_and_leaves_no_trace(network: ContractNetwork) -> None:
    windows = made_windows()
    torch.manual_seed(77)
    state = torch.get_rng_state()
    one = passes_of(network, windows, passes=40, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in network.modules())
    assert one.shape == (40, len(windows.frames))
    assert bool((one.std(dim=0) > 1e-3).all())
    assert torch.equal(one, passes_of(network, windows, passes=40, seed=1))
    assert not torch.equal(one, passes_of(network, windows, passes=40, seed=2))
    with torch.no_grad():
        logits = network(*windows).logits
    plain = logits[:, 1] - logits[:, 0]
    assert torch.allclose(one.mean(dim=0), plain, atol=4 * float(one.std(dim=0).max()) / 40**0.5)


def test_in_a_pass_all_windows_of_a_clip_lose_the_same_units(network: ContractNetwork) -> None:
    windows = made_windows(batch=1)
    twice = Windows(*(torch.cat([value, value]) for value in windows))
    found = passes_of(network, twice, passes=10)
    assert torch.allclose(found[:, 0], found[:, 1], atol=1e-5)
    assert torch.allclose(found[:, :1], passes_of(network, windows, passes=10), atol=1e-5)


def test_mc_dropout_without_dropout_has_no_spread() -> None:
    config = read_config("small").changed(
        temporal={"dropout": 0.0}, fusion={"dropout": 0.0}, heads={"dropout": 0.0}
    )
    torch.manual_seed(2)
    pupil = ContractNetwork(without_weights(config))
    assert float(passes_of(pupil, made_windows(), passes=10).std(dim=0).max()) < 1e-6
    with pytest.raises(UsageError, match="no interval"):
        passes_of(pupil, made_windows(), passes=1)


def said(score: float, frame: float) -> Prediction:
    windows = tuple(Window(i / 2, i / 2 + 1, score, None) for i in range(2))
    return Prediction(
        "a.mp4", 1, score=score, windows=windows, frames=(Frame(0.0, frame, 1),), disagreement=score
    )


def test_an_ensemble_averages_probabilities_and_reaches_from_one_to_the_other() -> None:
    found = ensembled([said(0.9, 0.2), said(0.6, 0.4), said(0.3, 0.6)], 0.5)
    assert found.score == pytest.approx(0.6)
    assert found.logit == pytest.approx(math.log(0.6 / 0.4))
    assert found.interval == (0.3, 0.9)
    assert found.decision == "fake"
    assert [one.score for one in found.windows] == pytest.approx([0.6, 0.6])
    assert found.frames[0].score == pytest.approx(0.4)
    assert [(one.start, one.end) for one in found.segments_found] == [(0.0, 1.5)]
    assert found.disagreement == pytest.approx(0.6)
    alone = said(0.7, 0.1)
    assert ensembled([alone], 0.5) is alone


def test_only_three_to_five_different_networks_of_a_kind_are_an_ensemble() -> None:
    config = read_config("small")
    infos = [CheckpointInfo(config=config, weights_sha256=str(i)) for i in range(6)]
    check_members(infos[:1])
    check_members(infos[:3])
    for count in (2, 6):
        with pytest.raises(UsageError, match=f"these are {count}"):
            check_members(infos[:count])
    with pytest.raises(UsageError, match="same weights"):
        check_members([*infos[:2], infos[0]])
    deaf = CheckpointInfo(config=config.changed(enable_audio=False), weights_sha256="7")
    with pytest.raises(UsageError, match="enable_audio differ"):
        check_members([*infos[:2], deaf])
    assert joint_sha256(infos[:1]) == "0"
    assert joint_sha256(infos[:3]) == joint_sha256(infos[2::-1]) != joint_sha256(infos[1:4])


@pytest.mark.parametrize("method", ["attention", "lstm"])
def test_a_learned_aggregation_finds_the_one_window_that_matters(method: str) -> None:
    """Clips of 4 to 9 windows, fake if any window carries a sign; padding is garbage."""
    torch.manual_seed(0)
    clips, longest, width = 96, 9, 8
    windows = torch.randn(clips, longest, width)
    lengths = torch.randint(4, longest + 1, (clips,))
    mask = torch.arange(longest)[None] < lengths[:, None]
    label = torch.arange(clips) % 2
    for clip in range(1, clips, 2):
        windows[clip, int(torch.randint(0, int(lengths[clip]), (1,))), 0] += 6.0
    windows[~mask] = 1e4
    model = build_aggregator(method, width)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            model(windows, mask), label.float()
        )
        loss.backward()
        optimiser.step()
    right = ((model(windows, mask) > 0) == label.bool()).float().mean()
    assert float(right) > 0.95
    spoilt = windows.clone()
    spoilt[~mask] = -1e4
    assert torch.equal(model(windows, mask), model(spoilt, mask))
    clip = clip_score(method, [], windows[1, : int(lengths[1])], model)
    expected = float(model(windows[1:2], mask[1:2]).sigmoid().detach())
    assert clip == pytest.approx(expected, abs=1e-5)


def test_all_aggregations_stand_behind_one_name() -> None:
    assert set(METHODS) == {"mean", "max", "top-k", "voting", "attention", "lstm"}
    assert clip_score("voting", [0.2, 0.6, 0.7, 0.9]) == pytest.approx(0.75)
    assert clip_score("max", [0.2, 0.9]) == pytest.approx(0.9)
    with pytest.raises(UsageError, match="trained weights"):
        clip_score("lstm", [0.2], torch.zeros(1, 4), build_aggregator("attention", 4))
    with pytest.raises(UsageError, match="not learned"):
        build_aggregator("mean", 4)
    with pytest.raises(UsageError, match="median"):
        clip_score("median", [0.2])


def test_a_few_steps_learn_a_sign_in_the_sound(network: ContractNetwork) -> None:
    """Real speech-like noise against a tone: the loss falls and the two are told apart."""
    windows = made_windows(batch=4)
    time = torch.arange(16_000) / 16_000
    windows.sound[1::2] = 0.3 * torch.sin(2 * math.pi * 440 * time)
    torch.manual_seed(4)
    config = read_config("small").changed(enable_video=False, modality_dropout=0.0)
    pupil = ContractNetwork(without_weights(config)).train()
    optimiser = torch.optim.AdamW(pupil.parameters(), lr=1e-3)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        outputs = pupil(*windows)
        loss = contract_loss(outputs, random_targets(outputs), config.loss)["classification"]
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    with torch.no_grad():
        decided = pupil.eval()(*windows).logits.argmax(dim=1)
    assert decided.tolist() == [0, 1, 0, 1]


def test_describe_tells_tensors_parameters_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["describe", "--config", "small", "--batch", "1", "--steps", "1"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "| out | `joint` | (1, 320) |" in text
    assert "cpu_seconds" in text
    assert main(["describe", "--config", "nowhere.json"]) == 2
    assert "nowhere.json" in capsys.readouterr().err
