"""A tiny checkpoint over a made-up prepared set: predictions, ablation, damage, attacks."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")
pytest.importorskip("transformers", reason="transformers is in the extra 'train'")
pytest.importorskip("matplotlib", reason="matplotlib is in the extra 'evaluate'")

from aura import cli  # noqa: E402
from aura.calibration import Calibration, sigmoid  # noqa: E402
from aura.errors import InputError, UsageError, WeightsError  # noqa: E402
from aura.evaluation.predictions import read_predictions  # noqa: E402
from aura.training.contract.adversarial import ATTACKS, Attack, attacked  # noqa: E402
from aura.training.contract.aggregate import clip_score  # noqa: E402
from aura.training.contract.aggregate_run import (  # noqa: E402
    FILE,
    Sequences,
    fit_aggregators,
    fitted_aggregator,
    load_aggregators,
)
from aura.training.contract.calibrate_run import clip_logits  # noqa: E402
from aura.training.contract.cases import cases  # noqa: E402
from aura.training.contract.checkpoint import (  # noqa: E402
    CheckpointInfo,
    read_info,
    save_checkpoint,
)
from aura.training.contract.dataset import WindowSet  # noqa: E402
from aura.training.contract.evaluate_run import (  # noqa: E402
    Work,
    _attacked,
    evaluate_checkpoint,
)
from aura.training.contract.making import self_made  # noqa: E402
from aura.training.contract.network import ContractNetwork, Windows  # noqa: E402
from aura.training.contract.predict import Condition, Predictor  # noqa: E402
from aura.training.contract.robustness import clip_change  # noqa: E402
from aura.training.contract.samples import collate, cut_sample  # noqa: E402
from aura.training.data.clip import Span, Truth  # noqa: E402
from aura.training.data.prepared import open_prepared  # noqa: E402
from made_clips import MadeClips, made_rows, seeing_config, tiny_config, write_set  # noqa: E402
from training_runs import one_thread  # noqa: E402


class NoBars:
    def begin(self, name):
        return None

    def hide(self):
        pass


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


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


def predictor(network, prepared, calibration=None):
    return Predictor(
        network,
        prepared if hasattr(prepared, "rows") else open_prepared(prepared),
        [],
        calibration=calibration or Calibration(),
        device=torch.device("cpu"),
    )


def judge(network, prepared, case, *conditions, calibration=None):
    """One prediction for each condition, in their order."""
    one = predictor(network, prepared, calibration)
    found = list(one.judge(case, conditions or (Condition(),)))
    assert [place for place, _ in found] == list(range(max(1, len(conditions))))
    return [prediction for _, prediction in found]


def first_of(one, name="test"):
    found = open_prepared(one)
    return cases(found, found.split(name), ())[0], found


def test_a_clips_score_is_the_mean_of_its_windows_logits_calibrated(network, prepared):
    case, found = first_of(prepared)
    calibration = Calibration(temperature=0.5, bias=0.1)
    said = judge(network, prepared, case, calibration=calibration)[0]
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

    def darker(clip, name):
        return replace(clip, faces=clip.faces._replace(crops=clip.faces.crops // 2))

    blind, deaf = Condition(see=False), Condition(hear=False)
    dark, dark_blind = Condition(clip=darker), Condition(clip=darker, see=False)
    found = judge(network, prepared, case, Condition(), dark, blind, dark_blind, deaf)
    base, darkened, unseen, dark_unseen, unheard = (one.logit for one in found)
    assert darkened != pytest.approx(base, abs=1e-5)
    assert dark_unseen == pytest.approx(unseen, abs=1e-6)
    assert len({unseen, unheard, base}) == 3
    # As the whole network answers when its inputs are hidden.
    clip = found_clip(prepared, case)
    inputs = Windows(*collate([cut_sample(clip, 0, "", 0.0, network.config)]).inputs)
    inputs = inputs._replace(frames=inputs.frames.float())
    for hidden, said in (("frame_mask", found[2]), ("speech_mask", found[4])):
        masked = inputs._replace(**{hidden: torch.zeros_like(getattr(inputs, hidden))})
        with torch.no_grad():
            out = network(*masked).logits[0]
        wanted = float(sigmoid(float(out[1] - out[0])))
        assert said.windows[0].score == pytest.approx(wanted, abs=1e-5)


def found_clip(prepared, case):
    return open_prepared(prepared).load(case.place)


def test_conditions_that_leave_the_faces_alone_encode_each_of_them_once(
    network, prepared, monkeypatch
):
    case, found = first_of(prepared)
    encoded = []
    real = network.appearance.forward
    monkeypatch.setattr(
        network.appearance, "forward", lambda faces: encoded.append(len(faces)) or real(faces)
    )
    quiet = Condition(clip=clip_change("sound-noise", 3, motion=True))
    conditions = [Condition(), Condition(hear=False), quiet, Condition(few=1)]
    judge(network, prepared, case, *conditions)
    assert sum(encoded) == len(found.load(case.place).faces.times) == 10


def test_dropout_gives_an_interval_and_leaves_the_score_and_the_network_alone(network, prepared):
    case, _ = first_of(prepared)
    plain, unsure = judge(network, prepared, case, Condition(), Condition(passes=40))
    assert plain.interval is None
    assert unsure.score == plain.score
    low, high = unsure.interval
    assert 0 < low < high < 1
    assert not any(module.training for module in network.modules())
    assert judge(network, prepared, case, Condition(passes=40))[0].interval == (low, high)


def test_no_more_windows_than_wanted_evenly_spread(network, prepared):
    case, _ = first_of(prepared)
    said = judge(network, prepared, case, Condition(few=1), Condition(few=2))
    assert [(one.start, one.end) for one in said[0].windows] == [(0.5, 1.5)]
    assert [one.start for one in said[1].windows] == [0.0, 1.0]


def test_partial_fakes_are_fake_where_they_are(tmp_path, network):
    rows = made_rows("test", 1, 1)
    truth = Truth(1, 0, 1, 1, (Span("audio", 1.2, 2.0),))
    clips = MadeClips(rows, seconds=2.0, truths={1: truth})

    class Live:
        rows = clips.rows
        load, fps_of, span_of = clips.load, clips.fps_of, clips.span_of

    said = judge(network, Live(), cases(Live(), [1], ())[0])[0]
    assert [one.label for one in said.windows] == [0, 1, 1]
    assert {one.label for one in said.frames} == {0}  # only its sound is fake
    assert [tuple(one) for one in said.segments_true] == [("audio", 1.2, 2.0)]


def test_a_run_writes_figures_conditions_and_notes_and_goes_on(prepared, run_folder, tmp_path):
    out = tmp_path / "out"
    options = {"bars": NoBars(), "ablation": True, "perturbations": [("blur", 5)]}
    notes = evaluate_checkpoint(prepared, [run_folder], out, **options)
    header, clips = read_predictions(out)
    assert len(clips) == 4
    assert {one.split for one in clips} == {"test"}
    assert header.role == "reporting"
    assert header.trained_on == ("lab",)
    assert any("calibrate" in note for note in notes)
    assert any("windows of 0.5 s left out" in note for note in notes)
    assert any("attention and lstm left out" in note for note in notes)
    found = {path.stem for path in (out / "variants").glob("*/*.jsonl")}
    assert {"blur-5", "video only", "audio only", "no flow"} <= found
    assert {"windows of 2 s", "aggregation max", "aggregation voting"} <= found
    _, top = read_predictions(out / "variants" / "ablation" / "aggregation max.jsonl")
    for one, other in zip(clips, top, strict=True):
        assert other.score == max(window.score for window in one.windows)
    before = {path: path.read_bytes() for path in out.rglob("*.jsonl")}
    evaluate_checkpoint(prepared, [run_folder], out, **options)
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
            evaluate_checkpoint(prepared, [run_folder], tmp_path, bars=NoBars(), split=split)
    assert not (tmp_path / "predictions.jsonl").exists()


def test_a_network_that_gives_no_number_is_told(prepared):
    broken = seeded(tiny_config())
    with torch.no_grad():
        broken.heads.classifier.bias.fill_(float("nan"))
    case, _ = first_of(prepared)
    with pytest.raises(InputError, match="no number"):
        judge(broken, prepared, case)


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


def test_learned_aggregations_are_fitted_kept_and_listed(prepared, run_folder, network, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    clips, place = open_prepared(prepared), torch.device("cpu")
    weights = read_info(run / "best").weights_sha256
    with pytest.raises(UsageError, match="aura train"):
        load_aggregators(run, weights)
    assert fit_aggregators(run, clips, making=self_made(), device=place)
    written = (run / FILE).read_bytes()
    assert not fit_aggregators(run, clips, making=self_made(), device=place)
    assert (run / FILE).read_bytes() == written
    learned = load_aggregators(run / "best", weights)
    assert set(learned) == {"attention", "lstm"}
    out = tmp_path / "out"
    evaluate_checkpoint(prepared, [run], out, bars=NoBars(), ablation=True)
    _, base = read_predictions(out)
    for name, model in learned.items():
        _, found = read_predictions(out / "variants" / "ablation" / f"aggregation {name}.jsonl")
        clip = clips.load(clips.split("test")[0])
        inputs = Windows(
            *collate(
                [cut_sample(clip, 0, "", start, network.config) for start in (0.0, 0.5, 1.0)]
            ).inputs
        )
        with torch.no_grad():
            joint = network(*inputs._replace(frames=inputs.frames.float())).joint
            wanted = model(joint[None], torch.ones(1, 3, dtype=torch.bool)).sigmoid()
        assert found[0].path == base[0].path == clip.row.path
        assert found[0].score == pytest.approx(float(wanted), abs=1e-4)
    with pytest.raises(UsageError, match="other weights"):
        load_aggregators(run, "0" * 64)
    (run / FILE).write_bytes(written[:-40])
    with pytest.raises(WeightsError, match="delete it"):
        load_aggregators(run, weights)
    assert fit_aggregators(run, clips, making=self_made(), device=place)  # mended
    assert (run / FILE).read_bytes()[-40:] == written[-40:]


def test_fitting_finds_what_tells_the_clips_apart():
    random = torch.Generator().manual_seed(3)
    joint, labels = [], []
    for number in range(200):
        windows = torch.randn(3 + number % 5, 6, generator=random) * 10 + 100
        windows[number % 3, 2] += 80.0 * (number % 2)
        joint.append(windows)
        labels.append(number % 2)
    for name in ("attention", "lstm"):
        model = fitted_aggregator(name, Sequences(joint[:150], labels[:150]))
        again = fitted_aggregator(name, Sequences(joint[:150], labels[:150]))
        scores = [clip_score(name, [], one, model) for one in joint]
        assert scores == [clip_score(name, [], one, again) for one in joint]
        right = [(score > 0.5) == bool(label) for score, label in zip(scores, labels, strict=True)]
        assert np.mean(right[150:]) >= 0.9


def test_several_runs_judge_together_and_an_aggregation_can_be_chosen(prepared, network, tmp_path):
    runs = []
    for number in range(3):
        torch.manual_seed(number)
        member = ContractNetwork(seeing_config())
        runs.append(tmp_path / f"run{number}")
        save_checkpoint(runs[-1] / "best", member, CheckpointInfo(config=member.config))
        options = {"bars": NoBars(), "aggregation": "max"}
        evaluate_checkpoint(prepared, [runs[-1]], tmp_path / f"out{number}", **options)
    evaluate_checkpoint(prepared, runs, tmp_path / "all", bars=NoBars(), aggregation="max")
    header, together = read_predictions(tmp_path / "all")
    assert header.model.startswith("ensemble of 3: ")
    alone = [read_predictions(tmp_path / f"out{number}")[1] for number in range(3)]
    for same in zip(together, *alone, strict=True):
        scores = [one.score for one in same[1:]]
        assert scores[0] == max(window.score for window in same[1].windows)
        assert same[0].score == pytest.approx(np.mean(scores))
        assert same[0].interval == pytest.approx((min(scores), max(scores)))
    with pytest.raises(UsageError, match="one --model"):
        evaluate_checkpoint(prepared, runs, tmp_path / "x", bars=NoBars(), adversarial=True)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"aggregation": "median"}, "attention"),
        ({"aggregation": "lstm"}, "aura train"),
        ({"passes": 3}, "at least 10"),
        ({"passes": 30, "aggregation": "max"}, "--aggregation"),
    ],
)
def test_options_of_a_checkpoint_that_make_no_sense_are_refused(
    options, named, prepared, run_folder, tmp_path
):
    with pytest.raises(UsageError, match=named):
        evaluate_checkpoint(prepared, [run_folder], tmp_path / "out", bars=NoBars(), **options)
    assert not (tmp_path / "out").exists()


def test_attacks_are_held_against_the_same_windows_untouched(prepared, network, monkeypatch):
    found = open_prepared(prepared)
    work = Work(
        [predictor(network, prepared)],
        [CheckpointInfo(config=network.config)],
        found,
        found.split("test"),
        cases(found, found.split("test"), ()),
        None,
        prepared,
        NoBars(),
    )
    wanted = _attacked(work, "logits")
    assert [one.options["adversarial"] for one in wanted] == [
        "none",
        *(attack.name for attack in ATTACKS),
    ]
    case = work.cases[0]
    chosen = [wanted[0], *(one for one in wanted if "2/255" in one.options["setting"])]
    said = judge(network, prepared, case, *(one.condition for one in chosen))
    spans = {tuple((w.start, w.end) for w in one.windows) for one in said}
    assert len(spans) == 1
    assert all(one.logit > said[0].logit for one in said[1:])  # this clip is real


def test_calibration_sees_the_logits_of_the_whole_network_and_each_face_once(
    prepared, network, monkeypatch
):
    clips = open_prepared(prepared)
    chosen = clips.split("test")
    source = WindowSet(clips, chosen, network.config)
    wanted = []
    for place in chosen:
        samples = [
            cut_sample(clips.load(place), place, "", start, network.config)
            for start in (0.0, 0.5, 1.0)
        ]
        inputs = Windows(*collate(samples).inputs)
        with torch.no_grad():
            out = network(*inputs._replace(frames=inputs.frames.float())).logits
        wanted.append(float((out[:, 1] - out[:, 0]).double().mean()))
    encoded = []
    real = network.appearance.forward
    monkeypatch.setattr(
        network.appearance, "forward", lambda faces: encoded.append(len(faces)) or real(faces)
    )
    found = clip_logits(network, source)
    assert sorted(found.logits) == pytest.approx(sorted(wanted), abs=1e-5)
    crops = {crop.tobytes() for place in chosen for crop in clips.load(place).faces.crops}
    assert sum(encoded) == len(crops) < 15 * len(chosen)  # what the windows hold together
