"""A tiny checkpoint over a made-up prepared set: predictions, ablation, damage, attacks."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")
pytest.importorskip("transformers", reason="transformers is in the extra 'train'")
pytest.importorskip("matplotlib", reason="matplotlib is in the extra 'evaluate'")

from made_clips import MadeClips, made_rows, seeing_config, tiny_config, write_set  # noqa: E402

from aura import cli  # noqa: E402
from aura.calibration import Calibration, sigmoid  # noqa: E402
from aura.errors import InputError, UsageError  # noqa: E402
from aura.evaluation.predictions import read_predictions  # noqa: E402
from aura.training.contract.adversarial import Attack, attacked  # noqa: E402
from aura.training.contract.checkpoint import CheckpointInfo, save_checkpoint  # noqa: E402
from aura.training.contract.evaluate_run import evaluate_checkpoint  # noqa: E402
from aura.training.contract.network import ContractNetwork, Windows  # noqa: E402
from aura.training.contract.predict import Condition, Predictor, cases  # noqa: E402
from aura.training.contract.robustness import clip_change  # noqa: E402
from aura.training.contract.samples import collate, cut_sample  # noqa: E402
from aura.training.data.clip import Span, Truth  # noqa: E402
from aura.training.data.prepared import open_prepared  # noqa: E402


class NoBars:
    def begin(self, name):
        return None

    def hide(self):
        pass


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small lose more by sharing work than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    rows = [replace(one, source="lab") for one in made_rows("train", 1, 1)]
    rows += [replace(one, source="street") for one in made_rows("test", 2, 2)]
    rows += made_rows("val", 2, 0)
    return write_set(tmp_path_factory.mktemp("set"), MadeClips(rows, seconds=2.0))


def seeded(config):
    torch.manual_seed(5)
    return ContractNetwork(config).eval()


@pytest.fixture(scope="module")
def network():
    return seeded(seeing_config())


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, network, prepared):
    folder = tmp_path_factory.mktemp("run")
    info = CheckpointInfo(config=network.config, data_hash=open_prepared(prepared).data_hash)
    save_checkpoint(folder / "best", network, info)
    return folder


def predictor(network, prepared, condition=None, calibration=None):
    return Predictor(
        network,
        open_prepared(prepared),
        calibration or Calibration(),
        torch.device("cpu"),
        condition or Condition(),
    )


def first_of(one, name="test"):
    found = open_prepared(one)
    return cases(found, found.split(name), ())[0], found


def test_a_clips_score_is_the_mean_of_its_windows_logits_calibrated(network, prepared):
    case, found = first_of(prepared)
    calibration = Calibration(temperature=0.5, bias=0.1)
    said = predictor(network, prepared, calibration=calibration).judge(case, [])
    clip = found.load(case.place)
    samples = [cut_sample(clip, 0, "", start, network.config) for start in (0.0, 0.5, 1.0)]
    with torch.no_grad():
        inputs = Windows(*collate(samples).inputs)
        out = network(*inputs._replace(frames=inputs.frames.float()))
    logits = (out.logits[:, 1] - out.logits[:, 0]).double().numpy()
    assert said.logit == pytest.approx(logits.mean() / 0.5 + 0.1, abs=1e-4)
    assert said.score == pytest.approx(float(sigmoid(said.logit)))
    assert [one.score for one in said.windows] == pytest.approx(
        sigmoid(logits / 0.5 + 0.1).tolist(), abs=1e-4
    )
    assert [(one.start, one.end) for one in said.windows] == [(0, 1), (0.5, 1.5), (1, 2)]
    assert len(said.frames) == 10
    assert said.disagreement == pytest.approx(float(out.disagreement.sigmoid().mean()), abs=1e-4)


def test_switched_off_parts_don_t_matter_and_the_others_do(network, prepared):
    case, _ = first_of(prepared)
    base = predictor(network, prepared).judge(case, []).logit

    def logit(condition):
        return predictor(network, prepared, condition).judge(case, []).logit

    def darker(clip, name):
        return replace(clip, faces=clip.faces._replace(crops=clip.faces.crops // 2))

    assert logit(Condition(clip=darker)) != pytest.approx(base, abs=1e-5)
    assert logit(Condition(clip=darker, see=False)) == logit(Condition(see=False))
    assert len({logit(Condition(see=False)), logit(Condition(hear=False)), base}) == 3


def test_partial_fakes_are_fake_where_they_are(tmp_path, network):
    rows = made_rows("test", 1, 1)
    truth = Truth(1, 0, 1, 1, (Span("audio", 1.2, 2.0),))
    clips = MadeClips(rows, seconds=2.0, truths={1: truth})

    class Live:
        rows = clips.rows
        load, fps_of, span_of = clips.load, clips.fps_of, clips.span_of

    live = Predictor(network, Live(), Calibration(), torch.device("cpu"), Condition())
    said = live.judge(cases(Live(), [1], ())[0], [])
    assert [one.label for one in said.windows] == [0, 1, 1]
    assert {one.label for one in said.frames} == {0}  # only its sound is fake
    assert [tuple(one) for one in said.segments_true] == [("audio", 1.2, 2.0)]


def test_a_run_writes_figures_conditions_and_notes_and_goes_on(prepared, run_folder, tmp_path):
    out = tmp_path / "out"
    options = {"bars": NoBars(), "ablation": True, "perturbations": [("blur", 5)]}
    notes = evaluate_checkpoint(prepared, run_folder, out, **options)
    header, clips = read_predictions(out)
    assert len(clips) == 4
    assert {one.split for one in clips} == {"test"}
    assert header.role == "reporting"
    assert header.trained_on == ("lab",)
    assert any("calibrate" in note for note in notes)
    assert any("windows of 0.5 s left out" in note for note in notes)
    found = {path.stem for path in (out / "variants").glob("*/*.jsonl")}
    assert {"blur-5", "video only", "audio only", "no flow"} <= found
    assert {"windows of 2 s", "aggregation max", "aggregation voting"} <= found
    _, top = read_predictions(out / "variants" / "ablation" / "aggregation max.jsonl")
    for one, other in zip(clips, top, strict=True):
        assert other.score == max(window.score for window in one.windows)
    before = {path: path.read_bytes() for path in out.rglob("*.jsonl")}
    evaluate_checkpoint(prepared, run_folder, out, **options)
    assert {path: path.read_bytes() for path in out.rglob("*.jsonl")} == before


def test_the_command_makes_the_folder_and_prints_the_table(prepared, run_folder, tmp_path, capsys):
    out = tmp_path / "out"
    code = cli.run(["evaluate", str(prepared), "--model", str(run_folder), "--out", str(out)])
    told = capsys.readouterr()
    assert (code, "AUC" in told.out, "aura calibrate" in told.err) == (0, True, True)
    raw = json.loads((out / "metrics.json").read_text())
    sha = json.loads((run_folder / "best" / "checkpoint.json").read_text())["weights_sha256"]
    assert raw["model"]["sha256"] == sha
    assert (raw["clip"]["fakes"], raw["clip"]["reals"]) == (2, 2)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["SET"], "--model RUN"),
        (["SET", "--model", "RUN"], "--out"),
        (["CLIPS", "--model", "RUN", "--out", "O"], "aura data prepare"),
        (["CLIPS", "--adversarial", "--out", "O"], "--model RUN"),
        (["CLIPS", "--robustness", "blur"], "--out DIR"),
        (["CLIPS", "--robustness", "fog", "--out", "O"], "'fog'"),
        (["CLIPS", "--role", "x"], "reporting"),
    ],
)
def test_options_that_make_no_sense_say_what_would(words, named, run_folder, prepared, tmp_path):
    places = {"SET": prepared, "RUN": run_folder, "CLIPS": tmp_path, "O": tmp_path / "o"}
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        code = cli.run(["evaluate", *(str(places.get(one, one)) for one in words)])
    assert code == 2
    assert named in told.getvalue()


def test_splits_that_can_t_be_measured_are_refused(prepared, run_folder, tmp_path):
    for split, words in (("nowhere", "no clip"), ("val", "--pairs all")):
        with pytest.raises(UsageError, match=words):
            evaluate_checkpoint(prepared, run_folder, tmp_path, bars=NoBars(), split=split)
    assert not (tmp_path / "predictions.jsonl").exists()


def test_a_network_that_gives_no_number_is_told(prepared):
    broken = seeded(tiny_config())
    with torch.no_grad():
        broken.heads.classifier.bias.fill_(float("nan"))
    case, _ = first_of(prepared)
    with pytest.raises(InputError, match="no number"):
        predictor(broken, prepared).judge(case, [])


def test_damage_reaches_faces_and_speech_and_is_the_same_each_time(prepared):
    case, found = first_of(prepared)
    clip = found.load(case.place)
    for name in ("noise", "compression", "jpeg"):
        one = clip_change(name, 5, motion=True)(clip, case.name)
        again = clip_change(name, 5, motion=True)(clip, case.name)
        assert (one.faces.crops == again.faces.crops).all()
        assert one.faces.crops.shape == clip.faces.crops.shape
        assert one.voice is clip.voice
    assert (clip_change("noise", 5, motion=True)(clip, "x").faces.crops != clip.faces.crops).any()
    rung = clip_change("sound-room", 3, motion=True)(clip, case.name)
    assert rung.faces is clip.faces
    assert np.abs(rung.voice.samples - clip.voice.samples).max() > 0.01


def batch_of(prepared, network):
    found = open_prepared(prepared)
    chosen = found.split("test")
    clips = [found.load(i) for i in (chosen[0], chosen[-1])]
    return collate(
        [cut_sample(clip, i, "", 0.0, network.config) for i, clip in enumerate(clips)]
    ).to_device(torch.device("cpu"))


def wrongness(network, windows, labels):
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(network(*windows).logits, labels))


@pytest.mark.parametrize("attack", [Attack(1, pixels=2.0), Attack(4, pixels=2.0)])
def test_faces_move_within_epsilon_towards_more_errors(attack, prepared, network):
    batch = batch_of(prepared, network)
    moved = attacked(network, batch, attack)
    shift = moved.frames - batch.inputs.frames
    assert 1.0 < float(shift.abs().max()) <= 2.0 + 1e-3
    assert float(moved.frames.min()) >= 0
    assert float(moved.frames.max()) <= 255
    assert (moved.sound == batch.inputs.sound).all()
    before = wrongness(network, batch.inputs, batch.targets.label)
    assert wrongness(network, moved, batch.targets.label) > before
    random = torch.randint(0, 2, shift.shape, generator=torch.Generator().manual_seed(1)) * 4.0 - 2
    noise = batch.inputs._replace(frames=(batch.inputs.frames + random).clamp(0, 255))
    gained = wrongness(network, moved, batch.targets.label) - before
    assert gained > 2 * abs(wrongness(network, noise, batch.targets.label) - before)


@pytest.mark.parametrize("steps", [1, 4])
def test_sound_moves_within_the_stated_ratio_towards_more_errors(steps, prepared, network):
    batch = batch_of(prepared, network)
    moved = attacked(network, batch, Attack(steps, snr=20.0))
    noise = (moved.sound - batch.inputs.sound).square().sum(dim=1)
    ratio = 10 * torch.log10(batch.inputs.sound.square().sum(dim=1) / noise)
    assert (ratio >= 20.0 - 1e-2).all()
    assert (ratio < 30.0).all()
    assert (moved.frames == batch.inputs.frames).all()
    before = wrongness(network, batch.inputs, batch.targets.label)
    assert wrongness(network, moved, batch.targets.label) > before


def test_gradients_flow_to_every_frame_and_to_speech(prepared, network):
    batch = batch_of(prepared, network)
    frames = batch.inputs.frames.clone().requires_grad_()
    sound = batch.inputs.sound.clone().requires_grad_()
    logits = network(*batch.inputs._replace(frames=frames, sound=sound)).logits
    slopes = torch.autograd.grad(logits[:, 1].sum() - logits[:, 0].sum(), [frames, sound])
    assert (slopes[0].abs().amax(dim=(2, 3, 4)) > 0).all()
    assert (slopes[1].abs().amax(dim=1) > 0).all()


def test_an_attack_leaves_the_network_as_it_was(prepared, network):
    flags = [one.requires_grad for one in network.parameters()]
    weights = [one.clone() for one in network.parameters()]
    attacked(network, batch_of(prepared, network), Attack(3, pixels=4.0))
    assert flags == [one.requires_grad for one in network.parameters()]
    for one, other in zip(weights, network.parameters(), strict=True):
        assert torch.equal(one, other)
        assert other.grad is None


def test_hidden_faces_are_not_moved(prepared, network):
    batch = batch_of(prepared, network)
    batch.inputs.frame_mask[0, 2:] = False
    moved = attacked(network, batch, Attack(2, pixels=4.0))
    assert torch.equal(moved.frames[0, 2:], batch.inputs.frames[0, 2:])
