"""`aura weights`: pulled over HTTP from a hub on this machine, pinned, converted, analysed with."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")
pytest.importorskip("transformers", reason="transformers is in the extra 'train'")
sys.path.append(str(Path(__file__).parents[1] / "unit"))

from mirror import COMMIT, Mirror, serving  # noqa: E402
from public_checkpoints import (  # noqa: E402
    TINY,
    TINY_TOWER,
    TINY_VOICE,
    DeepFakeClassifier,
    GenD,
    efficientnet,
    files_of,
    files_of_gend,
    lively,
    torchscript,
    videomae,
    wav2vec2,
)

import aura  # noqa: E402
from aura import registry  # noqa: E402
from aura.errors import WeightsError  # noqa: E402
from aura.hub.catalogue import sources  # noqa: E402
from aura.hub.fetch import Place, download  # noqa: E402
from aura.hub.pins import read_pins  # noqa: E402
from aura.runtime import read_card  # noqa: E402

REPO = {one.name: one.repo for one in sources()}
GEND = ("frontier", "--only", "gend-clip-l14")  # the quickest to convert
SMALL = ("--set", "side=76")  # of the made network; the public one sees 380


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, bytes]:
    """Small checkpoints of the public layouts, by their places on the hub."""

    def folder() -> Path:
        return tmp_path_factory.mktemp("saved")

    voice = files_of(wav2vec2({0: "fake", 1: "real"}, **TINY_VOICE), folder())
    clone = files_of(wav2vec2({0: "real", 1: "fake"}, **TINY_VOICE), folder())
    motion = files_of(videomae(**TINY, image_size=32, patch_size=8), folder())
    parts = {
        REPO["facetorch-b7"]: {"model.pt": torchscript(lively(DeepFakeClassifier()), 76)},
        REPO["wav2vec2-deepfake"]: voice,
        REPO["wav2vec2-voice-clone"]: clone,
        REPO["gend-clip-l14"]: files_of_gend(GenD(**TINY_TOWER)),
        "someone/videomae-tuned": motion,
    }
    return {f"{repo}/{name}": data for repo, files in parts.items() for name, data in files.items()}


@pytest.fixture
def hub(made, tmp_path, monkeypatch):
    """A hub that serves them; an empty home."""
    monkeypatch.setenv("AURA_HOME", str(tmp_path / "home"))
    with serving(Mirror(files=dict(made))) as mirror:
        monkeypatch.setenv("AURA_WEIGHTS_MIRROR", mirror.address)
        yield mirror


@pytest.fixture
def pull(run, hub, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))  # nobody answers

    def go(*arguments, licence=True):
        yes = ("--accept-licence",) if licence else ()
        return run("weights", "pull", *arguments, *yes, *SMALL)

    return go


def downloads() -> list[str]:
    folder = registry.home() / "downloads"
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


def test_ensemble_says_what_is_missing_then_runs_with_what_was_pulled(run, pull, talk, hub):
    before = aura.analyze(talk, profile="ensemble")
    reasons = {one.name: one.reason for one in before.detectors}
    assert "`aura weights pull ensemble`" in reasons["visual_b7"]
    assert "`aura weights pull ensemble`" in reasons["audio_wav2vec2"]
    assert "--only videomae-deepfake" in reasons["temporal_videomae"]
    assert before.prediction.manipulation_confidence is None

    code, out, err = pull("ensemble")
    assert (code, err) == (0, "")
    assert "Licence: Code Apache-2.0 (facetorch)" in out
    assert "videomae-deepfake: left out" in out
    code, out, err = pull(
        *("ensemble", "--only", "videomae-deepfake", "--repo", "someone/videomae-tuned")
    )
    assert (code, err) == (0, "")
    assert downloads() == []  # converted, so not needed any more

    after = aura.analyze(talk, profile="ensemble")
    found = {one.name: one for one in after.detectors}
    assert found["visual_b7"].status == "ok"
    assert len(after.prediction.frame_scores) == after.metadata.frames_analyzed
    assert found["temporal_videomae"].reason.startswith("The face was seen in 12 pictures in a row")
    assert found["visual_b7"].share == 1.0  # renormalised over those that ran
    assert "Voice could not be judged" in after.prediction.confidence_interval.widened_for
    assert after.detector_scores.visual_artifacts == found["visual_b7"].score
    calibrated = 1 / (1 + np.exp(-(found["visual_b7"].logit - 0.8473)))
    assert found["visual_b7"].score == pytest.approx(calibrated, abs=1e-5)
    used = {one.name: one for one in after.metadata.models_used}
    assert used["facetorch-b7"].version == f"{COMMIT[:18]}-c1"
    assert before.metadata.config_sha256 != after.metadata.config_sha256
    assert run("weights", "verify", "ensemble")[0] == 0
    code, out, _ = run("models", "list")
    assert "facetorch-b7" in out


def test_frontier_on_a_clip_on_a_picture_and_on_a_voice(pull, speaking, portrait, tmp_path):
    import cv2

    assert pull("frontier")[0] == 0
    report = aura.analyze(speaking, profile="frontier")
    found = {one.name: one for one in report.detectors}
    assert found["visual_gend"].status == found["audio_clone"].status == "ok"
    shares = {name: one.share for name, one in found.items() if one.share}
    assert shares["visual_gend"] / shares["audio_clone"] == pytest.approx(0.5 / 0.3, rel=1e-4)
    again = aura.analyze(speaking, profile="frontier")
    assert again.deterministic_digest == report.deterministic_digest

    photo = tmp_path / "photo.png"
    photo.write_bytes(cv2.imencode(".png", portrait[:, :, ::-1])[1].tobytes())
    still = aura.analyze(photo, profile="frontier")
    assert {one.name for one in still.detectors if one.status == "ok"} == {"visual_gend"}
    assert still.prediction.overall_class == "uncertain"


def bring(hub, data=b"", **more) -> str:
    """One file straight through `download`."""
    data = data or bytes(range(256)) * 40
    hub.files["a/b/model.bin"] = data
    place = Place(hub.address, "a/b", COMMIT)
    return download(place, "model.bin", registry.home() / "model.bin", lambda *_: None)


def asked_for(hub) -> list[str | None]:
    return [begin for path, begin in hub.asked if path.startswith("/store/")]


def test_a_download_that_breaks_off_goes_on_where_it_stopped(hub):
    data = bytes(range(256)) * 40
    hub.cut = [1000, 5000]
    assert bring(hub, data) == hashlib.sha256(data).hexdigest()
    assert asked_for(hub) == [None, "bytes=1000-", "bytes=6000-"]
    assert (registry.home() / "model.bin").read_bytes() == data


def test_a_download_that_never_ends_well_keeps_what_came_for_the_next_try(hub, monkeypatch):
    monkeypatch.setattr("aura.hub.fetch.PAUSE", 0.0)
    hub.cut = [2000] + [0] * 5
    with pytest.raises(WeightsError, match="broke off after 2000 bytes"):
        bring(hub)
    assert [one.name for one in registry.home().iterdir()] == ["model.bin.partial"]
    hub.asked.clear()
    bring(hub)
    assert asked_for(hub) == ["bytes=2000-"]


def test_a_server_that_does_not_go_on_is_asked_from_the_beginning(hub):
    hub.cut, hub.ranges = [3000], False
    data = bytes(range(256)) * 40
    assert bring(hub, data) == hashlib.sha256(data).hexdigest()


def test_other_bytes_than_the_hub_states_are_deleted(hub):
    hub.states = "0" * 64
    with pytest.raises(WeightsError, match="is not what the hub says it is"):
        bring(hub)
    assert list(registry.home().iterdir()) == []


def test_a_sum_that_a_person_knows_stops_other_bytes(pull):
    code, _, err = pull(*GEND, "--sha256", f"gend-clip-l14/model.safetensors={'0' * 64}")
    assert code == 4
    assert "not the 0000000000000000... that it must have" in err
    assert downloads() == [f"gend-clip-l14/{COMMIT}/config.json"]
    assert registry.promoted("gend-clip-l14") is None


def test_one_checkpoint_from_its_licence_to_a_file_that_changed_on_the_hub(run, pull, hub):
    code, out, err = pull(*GEND, licence=False)
    assert code == 2
    assert "was not accepted" in err
    assert "Licence: MIT" in out
    assert hub.asked == []
    code, _, err = pull(*GEND, "--offline")
    assert code == 4
    assert "--from FOLDER" in err

    assert pull(*GEND, "--keep")[0] == 0
    place = f"{REPO['gend-clip-l14']}/model.safetensors"
    pin = read_pins()["gend-clip-l14"]
    assert pin.files["model.safetensors"] == hashlib.sha256(hub.files[place]).hexdigest()
    assert (pin.revision, pin.repo) == (COMMIT, REPO["gend-clip-l14"])
    folder = registry.promoted("gend-clip-l14")
    card = read_card(folder / registry.CARD)
    assert card.training["files_sha256"] == pin.files
    assert card.parameters["parity_max_logit_error"] <= 1e-3
    assert registry.history("gend-clip-l14")[-1].action == "pull"

    hub.asked.clear()
    assert pull(*GEND, licence=False)[0] == 0  # agreed to before, and there already
    (folder / "model.onnx").write_bytes(b"altered")
    assert pull(*GEND, "--offline")[0] == 0  # made anew from what was kept
    assert hub.asked == []

    (folder / "model.onnx").write_bytes(b"altered")
    (registry.home() / "downloads" / "gend-clip-l14" / COMMIT / "model.safetensors").unlink()
    hub.files[place] += b"x"  # other bytes under the same commit
    code, _, err = pull(*GEND)
    assert code == 4
    assert "SHA-256" in err
    assert (folder / "model.onnx").read_bytes() == b"altered"  # and stays refused
    assert run("weights", "verify", "frontier")[0] == 4


def test_files_that_one_has_need_no_network(pull, hub, made, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, data in made.items():
        if name.startswith("someone/"):
            (folder / name.rpartition("/")[2]).write_bytes(data)
    code, _, err = pull("ensemble", "--only", "videomae-deepfake", "--from", folder)
    assert (code, err) == (0, "")
    assert hub.asked == []
    assert sorted(one.name for one in folder.iterdir())  # a person's own files stay
    assert read_pins()["videomae-deepfake"].repo == "local/mine"


def test_an_efficientnet_of_transformers_is_converted_too(pull, tmp_path):
    files_of(efficientnet(), tmp_path)
    told = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 64}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(told))
    code, _, err = pull("ensemble", "--only", "facetorch-b7", "--from", tmp_path)
    assert (code, err) == (0, "")
    card = read_card(registry.promoted("facetorch-b7") / registry.CARD)
    assert "of transformers" in card.architecture
    assert card.parameters["side"] == 76  # of --set, not what the folder says
    assert card.parameters["parity_max_logit_error"] <= 1e-3


def test_ambiguous_labels_stop_the_pull_until_a_person_says_what_they_mean(pull, hub, tmp_path):
    place = f"{REPO['wav2vec2-deepfake']}/config.json"
    config = json.loads(hub.files[place])
    config["id2label"] = {"0": "LABEL_0", "1": "LABEL_1"}
    hub.files[place] = json.dumps(config).encode()
    code, _, err = pull("ensemble", "--only", "wav2vec2-deepfake")
    assert code == 4
    assert "--fake-label" in err
    assert registry.promoted("wav2vec2-deepfake") is None
    code, _, _ = pull("ensemble", "--only", "wav2vec2-deepfake", "--fake-label", "LABEL_1")
    assert code == 0
    card = read_card(registry.promoted("wav2vec2-deepfake") / registry.CARD)
    assert card.parameters["fake_index"] == 1


def test_one_that_can_not_be_had_does_not_keep_the_others(run, pull, hub):
    for name in [one for one in hub.files if one.startswith(REPO["facetorch-b7"])]:
        del hub.files[name]
    code, out, err = pull("ensemble")
    assert code == 4
    assert "facetorch-b7 could not be pulled" in err
    assert "wav2vec2-deepfake:" in out
    code, out, _ = run("weights", "verify", "ensemble")
    assert code == 4
    assert "ok    wav2vec2-deepfake" in out
    rows = json.loads(run("weights", "list", "--json")[1])
    state = {row["name"]: row["in_use"] for row in rows}
    assert state["facetorch-b7"] is None
    assert state["wav2vec2-deepfake"] is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("lite",), "has no public weights"),
        (("ensemble", "--only", "b8"), "--only b8: choose one of"),
        (("ensemble", "--repo", "a/b"), "name it with --only"),
        ((*GEND, "--repo", "../x"), "give OWNER/NAME"),
        (("ensemble", "--sha256", "x=1"), "64 lower-case"),
        ((*GEND, "--mirror", "file:///etc"), "give an address"),
    ],
)
def test_options_that_make_no_sense_end_with_2(pull, options, words):
    code, _, err = pull(*options)
    assert code == 2
    assert words in err
