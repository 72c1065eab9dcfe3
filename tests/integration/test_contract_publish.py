"""From a trained run to a verdict: calibrate, export, promote, analyze, each as a user types it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")

from aura import registry  # noqa: E402
from aura.calibration import LOGIT_LIMIT, sigmoid  # noqa: E402
from aura.report import Report  # noqa: E402
from aura.runtime import OpenVinoSession, read_card, sha256_file  # noqa: E402
from aura.training.contract.calibrate_run import AS_IT_IS, clip_logits  # noqa: E402
from aura.training.contract.checkpoint import (  # noqa: E402
    CheckpointInfo,
    load_checkpoint,
    save_checkpoint,
)
from aura.training.contract.dataset import WindowSet  # noqa: E402
from aura.training.contract.export import PARITY, largest_difference  # noqa: E402
from aura.training.contract.graph import (  # noqa: E402
    INPUTS,
    OUTPUTS,
    Inference,
    in_all_cases,
    made_up_batch,
    write_onnx,
)
from aura.training.contract.people import val_parts  # noqa: E402
from aura.training.data.manifest import Row, write_manifest  # noqa: E402
from aura.training.data.prepare import Options, prepare  # noqa: E402
from aura.training.data.prepared import open_prepared  # noqa: E402
from contract_windows import build, settle  # noqa: E402
from made_clips import MadeClips, made_rows, seeing_config, write_set  # noqa: E402
from training_runs import one_thread  # noqa: E402

NAME = "contract-v1"
CLIPS = 24  # of them half calibrate: about six of each class


class Shades(MadeClips):
    """A face without sound, bright or dark: the dark ones are the fakes, so there is a difference.

    Args:
        face: (224, 224, 3) uint8.
    """

    def __init__(self, face, rows):
        super().__init__(rows, seconds=1.0, silent=tuple(range(len(rows))))
        self.face = face

    def load(self, index, span=None):
        clip = super().load(index, span)
        shade = (0.25 if clip.row.target else 0.9) + 0.004 * index
        face = (self.face * shade).astype(np.uint8)
        crops = np.stack([np.roll(face, int(shift), axis=1) for shift in clip.frame_ids])
        return replace(clip, faces=clip.faces._replace(crops=crops))


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, portrait):
    rows = made_rows("val", CLIPS // 2, CLIPS // 2)
    return write_set(tmp_path_factory.mktemp("faces"), Shades(portrait[40:264, 110:334], rows))


def logits_of(network, prepared, indices=range(CLIPS)):
    clips = open_prepared(prepared)
    return clip_logits(network, WindowSet(clips, indices, network.config, AS_IT_IS))


def tiny_network(prepared, seed=11):
    """Random, with the running statistics that trained weights come with: else nothing passes."""
    network = build(seeing_config(), seed)
    clips = open_prepared(prepared)
    faces = np.stack([clips.load(index).faces.crops[0] for index in range(0, CLIPS, 3)])
    return settle(network, torch.from_numpy(faces).permute(0, 3, 1, 2).float())


@pytest.fixture(scope="module")
def trained(tmp_path_factory, prepared):
    """A run whose network tells dark from bright: random, with its classifier set by hand."""
    network = tiny_network(prepared)
    found = logits_of(network, prepared)
    gap = found.logits[found.labels == 1].mean() - found.logits[found.labels == 0].mean()
    middle = found.logits.mean()
    classifier = network.heads.classifier
    with torch.no_grad():  # real and fake 8 logits apart around 6: everything is called fake
        scale = 8.0 / gap
        classifier.weight.mul_(float(scale))
        classifier.bias.mul_(float(scale))
        classifier.bias[1] += float(6.0 - scale * middle)
    run = tmp_path_factory.mktemp("run")
    info = CheckpointInfo(
        config=network.config,
        training={"seed": 3, "pairs": []},
        data_hash=open_prepared(prepared).data_hash,
        metrics={"auc": 1.0},
    )
    save_checkpoint(run / "best", network, info)
    return run


@pytest.fixture(scope="module")
def released(trained, prepared, tmp_path_factory):
    """The run, calibrated and exported by the commands."""
    from aura import cli

    copy = shutil.copytree(trained, tmp_path_factory.mktemp("released") / "run")
    assert cli.run(["calibrate", str(copy), str(prepared), "--quiet"]) == 0
    assert cli.run(["export", str(copy), "--prepared", str(prepared), "--licence", "CC0"]) == 0
    return copy


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv(registry.HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def promoted(released, home, run, tmp_path):
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    sha256 = load_checkpoint(released)[1].weights_sha256
    (evaluation / "metrics.json").write_text(json.dumps({"model": {"sha256": sha256}}))
    code, _, _ = run(
        *("promote", released / "export", "--as", NAME, "--version", "7.1"),
        *("--evaluation", evaluation, "--yes"),
    )
    assert code == 0
    return home / "models" / NAME / "7.1"


def report_on(run, path, *options):
    code, out, err = run("analyze", "--profile", NAME, path, "--json", *options)
    assert (code, err) == (0, "")
    report = Report.model_validate_json(out)
    assert report.deterministic_digest == report.digest()
    return report


def test_calibration_is_fitted_on_its_own_people_and_makes_the_scores_honest(released, prepared):
    found = json.loads((released / "calibration.json").read_text())
    rows = open_prepared(prepared).rows
    select, calibrate = val_parts(rows)
    assert found["clips"] == len(calibrate) < CLIPS
    assert found["fake"] == sum(rows[i].target for i in calibrate)
    assert not set(select) & set(calibrate)
    assert found["after"]["nll"] < found["before"]["nll"]
    network, info = load_checkpoint(released)
    assert found["weights_sha256"] == info.weights_sha256
    clips = logits_of(network, prepared, calibrate)
    expected = clips.logits / found["temperature"] + found["bias"]
    target = clips.labels
    nll = -np.mean(np.log(np.where(target, sigmoid(expected), 1 - sigmoid(expected))))
    assert nll == pytest.approx(found["after"]["nll"], abs=2e-3)


def test_the_card_says_what_the_file_is(released):
    card = read_card(released / "export" / "card.json")
    network, info = load_checkpoint(released)
    assert card.sha256 == sha256_file(released / "export" / card.file)
    assert card.licence == "CC0"
    assert card.training["weights_sha256"] == info.weights_sha256
    assert card.training["data_hash"] == info.data_hash
    assert card.metrics["selection"]["auc"] == 1.0
    assert card.parameters["count"] == sum(p.numel() for p in network.parameters())
    assert max(card.parameters["parity"].values()) < 1e-3
    assert card.parameters["parity_windows"] == "prepared and made up"
    fitted = json.loads((released / "calibration.json").read_text())
    assert card.parameters["calibration"]["contract"]["temperature"] == fitted["temperature"]


@pytest.mark.parametrize(
    "changes",
    [
        {"enable_audio": False},
        {"enable_video": False},
        {"enable_motion": False, "fusion": {"kind": "concatenation"}},
        {"temporal": {"kind": "transformer", "model_width": 16, "layers": 2, "heads": 4}},
    ],
)
def test_every_kind_of_network_exports_with_the_same_inputs_and_answers(changes, tmp_path):
    network = build(seeing_config().changed(**changes), seed=5)
    write_onnx(network, tmp_path / "model.onnx")
    batch = in_all_cases(made_up_batch(network.config, windows=1, frames=7, seed=4))
    gaps = largest_difference(network, tmp_path / "model.onnx", [batch])
    assert set(gaps) == {"openvino", "onnxruntime"}
    assert max(gaps.values()) < PARITY
    with torch.no_grad():
        wanted = Inference(network)(*(torch.from_numpy(batch[name]) for name in INPUTS))
    outputs = dict(zip(OUTPUTS, wanted, strict=True))
    got = OpenVinoSession(tmp_path / "model.onnx").run(batch)
    assert set(got) == set(OUTPUTS)
    there = (outputs["has_video"] | outputs["has_audio"]).numpy()
    assert there.any()
    assert np.abs(got["logits"] - outputs["logits"].numpy())[there].max() < PARITY
    if network.config.enable_video:  # what is compared depends on what was put in
        assert np.ptp(got["logits"][there]) > 10 * PARITY


def test_the_graph_answers_as_the_network_does_when_windows_share_faces(released):
    network, _ = load_checkpoint(released)
    batch = made_up_batch(network.config, windows=3, frames=5, seed=8)
    batch["slots"] = np.array([[0, 1, 2, 3, 4], [3, 4, 5, 6, 7], [6, 7, 8, 9, 9]])
    batch["frame_mask"][2, 4] = False
    session = OpenVinoSession(released / "export" / "model.onnx")
    frames = torch.from_numpy(batch["images"][batch["slots"]]).permute(0, 1, 4, 2, 3).float()
    others = [torch.from_numpy(batch[name]) for name in INPUTS[2:]]
    with torch.no_grad():
        wanted = network(frames, *others)
    got = session.run(batch)
    assert np.abs(got["logits"] - wanted.logits.numpy()).max() < 1e-3
    seen = batch["frame_mask"]
    assert np.abs(got["frame_scores"] - wanted.frame_scores.numpy())[seen].max() < 1e-3


def test_export_refuses_what_answers_differently_and_keeps_what_was_there(
    released, prepared, run, tmp_path, monkeypatch
):
    from aura.training.contract import export

    target = shutil.copytree(released / "export", tmp_path / "export")
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    other = tiny_network(prepared, seed=99)
    write = export.write_onnx
    monkeypatch.setattr(export, "write_onnx", lambda _network, path: write(other, path))
    code, _, err = run("export", released, "--out", target)
    assert code == 4
    assert "answers differently" in err
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_export_asks_for_a_calibration_of_these_weights(trained, released, run, tmp_path):
    code, _, err = run("export", trained, "--out", tmp_path / "out")
    assert code == 2
    assert "aura calibrate" in err
    copy = shutil.copytree(trained, tmp_path / "run")
    fitted = json.loads((released / "calibration.json").read_text())
    (copy / "calibration.json").write_text(json.dumps({**fitted, "weights_sha256": "0" * 64}))
    code, _, err = run("export", copy, "--out", tmp_path / "out")
    assert code == 2
    assert "other weights" in err
    (copy / "calibration.json").write_text(json.dumps({**fitted, "format": 99}))
    code, _, err = run("export", copy, "--out", tmp_path / "out")
    assert code == 4
    assert "upgrade" in err
    assert not (tmp_path / "out").exists()


def test_export_overwrites_no_folder_of_anything_else(released, run, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    code, _, err = run("export", released, "--out", tmp_path)
    assert code == 2
    assert "no earlier export" in err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_calibration_refuses_one_class_and_other_data(trained, prepared, run, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "run")
    lone = shutil.copytree(prepared, tmp_path / "prepared")
    table = (lone / "clips.csv").read_text().replace(",fake,", ",real,")
    (lone / "clips.csv").write_text(table)
    code, _, err = run("calibrate", copy, lone)
    assert code == 2
    assert "not the set" in err
    card = json.loads((copy / "best" / "checkpoint.json").read_text())
    card["data_hash"] = open_prepared(lone).data_hash
    (copy / "best" / "checkpoint.json").write_text(json.dumps(card))
    code, _, err = run("calibrate", copy, lone)
    assert code == 2
    assert "0 fake clips" in err
    assert "--pairs all" in err
    assert not (copy / "calibration.json").exists()


def test_with_promoted_weights_a_clip_is_judged_and_the_report_names_them(run, promoted, talk):
    report = report_on(run, talk)
    assert report.metadata.model_version == f"{NAME}-7.1"
    used = {one.name: one for one in report.metadata.models_used}
    assert used[NAME].version == "7.1"
    assert used[NAME].sha256 == sha256_file(promoted / "model.onnx")
    rows = {one.name: one for one in report.detectors}
    assert list(rows) == ["contract", "contract_face", "contract_voice", "contract_match"]
    verdict = rows["contract"]
    assert verdict.share == 1.0
    assert len(verdict.windows) == 4  # 2.4 s: at 0, 0.5 and 1 s, and one that ends with the clip
    fitted = json.loads((promoted / "calibration.json").read_text())
    logit = verdict.logit / fitted["temperature"] + fitted["bias"]
    expected = sigmoid(np.clip(logit, -LOGIT_LIMIT, LOGIT_LIMIT))
    assert report.prediction.manipulation_confidence == pytest.approx(float(expected), abs=1e-5)
    assert report.prediction.frame_scores_total == 12
    # A tone is no speech: the voice could not be judged.
    assert rows["contract_voice"].status == "not_applicable"
    assert report.prediction.modality_agreement is None
    assert report.prediction.modality_contribution["visual"] in {1.0, -1.0}
    assert "The voice could not be judged" in report.prediction.confidence_interval.widened_for
    assert report.provenance.decoding.faces == "single"
    again = report_on(run, talk)
    assert again.deterministic_digest == report.deterministic_digest
    text = run("analyze", "--profile", NAME, talk)[1]
    assert "Face and voice" in text
    assert "judged by the face alone" in " ".join(text.replace("│", " ").split())


def test_the_analysis_gives_the_logit_that_training_and_calibration_see(
    run, promoted, released, speaking, tmp_path
):
    films = tmp_path / "films"
    films.mkdir()
    shutil.copy(speaking, films / "speaking.mp4")
    write_manifest(films / "manifest.csv", [Row("speaking.mp4", "fake", split="val")])
    prepare(films / "manifest.csv", tmp_path / "prepared", Options(5.0), workers=1)
    network, _ = load_checkpoint(released)
    (wanted,) = logits_of(network, tmp_path / "prepared", [0]).logits
    rows = {one.name: one for one in report_on(run, speaking).detectors}
    assert rows["contract"].details["windows_with_speech"] > 5
    assert rows["contract"].logit == pytest.approx(wanted, abs=0.02)


def test_speech_brings_agreement_and_two_contributions(run, promoted, speaking):
    report = report_on(run, speaking)
    rows = {one.name: one for one in report.detectors}
    assert all(one.status == "ok" for one in rows.values())
    prediction = report.prediction
    match = rows["contract_match"]
    assert prediction.modality_agreement == pytest.approx(1 - float(sigmoid(match.logit)), abs=1e-5)
    shares = {k: v for k, v in prediction.modality_contribution.items() if v is not None}
    assert set(shares) == {"visual", "audio"}
    assert sum(abs(value) for value in shares.values()) == pytest.approx(1.0, abs=1e-5)
    assert report.detector_scores.lip_sync_error == match.score
    assert report.detector_scores.audio_synthesis == rows["contract_voice"].score
    assert 0 < rows["contract"].details["attention_on_sound"] < 1


def test_with_nobody_and_no_speech_nothing_is_claimed(run, promoted, nobody):
    report = report_on(run, nobody)
    assert report.prediction.overall_class == "uncertain"
    assert report.prediction.manipulation_confidence is None
    assert {one.status for one in report.detectors} == {"not_applicable"}


def test_pictures_of_several_people_are_skipped_unless_all_are_asked_for(run, promoted, two_people):
    skipped = report_on(run, two_people)
    assert skipped.subjects == ()
    assert any("--faces all" in line for line in skipped.limits.not_judged)
    everybody = report_on(run, two_people, "--faces", "all")
    assert len(everybody.subjects) == 2
    assert all(one.score is not None for one in everybody.subjects)


def test_a_promotion_while_the_program_runs_is_noticed(run, promoted, released, talk, tmp_path):
    first = report_on(run, talk)
    evaluation = tmp_path / "evaluation"
    code, _, _ = run(
        *("promote", released / "export", "--as", NAME, "--version", "7.2"),
        *("--evaluation", evaluation, "--yes"),
    )
    assert code == 0
    assert report_on(run, talk).metadata.model_version == f"{NAME}-7.2"
    assert run("models", "rollback", NAME, "--yes")[0] == 0
    assert report_on(run, talk).deterministic_digest == first.deterministic_digest
