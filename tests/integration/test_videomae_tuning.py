"""`aura train --config videomae`: an encoder learns to tell faces apart, is pulled, and judges."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")
transformers = pytest.importorskip("transformers", reason="transformers is in the extra 'train'")
sys.path.append(str(Path(__file__).parents[1] / "unit"))

from public_checkpoints import TINY  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

import aura  # noqa: E402
from aura import cli, registry  # noqa: E402
from aura.errors import Cancelled  # noqa: E402
from aura.runtime import load_model, read_card  # noqa: E402
from aura.training.contract.settings import Pace  # noqa: E402
from aura.training.data.prepared import open_prepared  # noqa: E402
from aura.training.videomae.rows import FaceRows, Shape  # noqa: E402
from aura.training.videomae.settings import read_tune_settings  # noqa: E402
from aura.training.videomae.tune import tune  # noqa: E402
from made_clips import MadeClips, made_rows, write_set  # noqa: E402
from training_runs import curve, one_thread, read_log  # noqa: E402

FRAMES, SIDE = 8, 224  # as prepared faces are: nothing is resized


class Shaded(MadeClips):
    """Fakes are lit from the left, real faces from the right; what their voices are is not said."""

    def load(self, index, span=None):
        clip = super().load(index, span)
        ramp = np.linspace(40, 200, clip.faces.crops.shape[2]).astype(np.uint8)
        clip.faces.crops[:] = (ramp[::-1] if self.rows[index].target else ramp)[:, None]
        clip.faces.crops[:] += np.uint8(index % 30)
        return clip


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    rows = made_rows("train", 6, 3) + made_rows("val", 3, 3)
    rows = [replace(row, visual_label=row.label) for row in rows]
    rows += made_rows("train", 0, 1, start=90)  # a fake, but nobody says of what
    return write_set(tmp_path_factory.mktemp("prepared"), Shaded(rows, seconds=2.6))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """As `MCG-NJU/videomae-base` is: an encoder with a decoder, and no classifier."""
    torch.manual_seed(0)
    config = transformers.VideoMAEConfig(
        **TINY,
        num_frames=FRAMES,
        image_size=SIDE,
        patch_size=56,
        decoder_num_attention_heads=2,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_intermediate_size=32,
    )
    folder = tmp_path_factory.mktemp("base")
    transformers.VideoMAEForPreTraining(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3})
    )
    return folder


def command(prepared, base, out, *more):
    words = ["train", str(prepared), "--config", "videomae", "--start", str(base)]
    words += ["--out", str(out), "--epochs", "4", "--batch", "2", "--layers", "1", "--seed", "1"]
    return [*words, "--learning-rate", "1e-2", "--log-every", "1", "--no-augment", *more]


@pytest.fixture(scope="module")
def tuned(prepared, base, tmp_path_factory):
    """A run from end to end, and what it said."""
    out = tmp_path_factory.mktemp("runs") / "tuned"
    words = command(prepared, base, out)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert cli.run(words) == 0
    return out, said.getvalue()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("AURA_HOME", str(tmp_path / "home"))


@pytest.mark.usefixtures("home")
def test_it_learns_and_its_head_is_pulled_verified_and_gives_a_score(
    tuned, prepared, base, run, talk
):
    out, said = tuned
    epochs = [one for one in read_log(out) if one["event"] == "epoch"]
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]
    assert max(one["auc"] for one in epochs) == 1.0
    assert "train: 9 clips, 3 of them fake, 1 left out" in said
    assert f"aura weights pull ensemble --only videomae-deepfake --from {out / 'best'}" in said

    begun, best = (load_file(one / "model.safetensors") for one in (base, out / "best"))
    moved = {k for k, value in best.items() if k in begun and not torch.equal(value, begun[k])}
    assert moved
    assert all(name.startswith("videomae.encoder.layer.1.") for name in moved)  # --layers 1

    only = ("ensemble", "--only", "videomae-deepfake", "--accept-licence")
    assert run("weights", "pull", *only, "--from", out / "best")[0] == 0
    assert "ok    videomae-deepfake" in run("weights", "verify", "ensemble")[1]
    found = {one.name: one for one in aura.analyze(talk, profile="ensemble").detectors}
    head = found["temporal_videomae"]
    assert head.status == "ok"
    assert 0.0 < head.score < 1.0

    # What was pulled tells the validation clips apart, in our direction and with its own means.
    clips = FaceRows(open_prepared(prepared), "val", Shape(FRAMES, SIDE))
    rows = [clips.load(index, rows[0]) for index, rows in clips.rows.items()]
    model = load_model("videomae-deepfake", "cpu")
    logits = [float(model.run({"clips": row[None]})["logit"][0]) for row in rows]
    labels = [clips.clips.truth_of(index).visual for index in clips.rows]
    assert min(v for v, is_fake in zip(logits, labels, strict=True) if is_fake) > max(
        v for v, is_fake in zip(logits, labels, strict=True) if not is_fake
    )
    card = read_card(registry.promoted("videomae-deepfake") / registry.CARD)
    assert (card.parameters["frames"], card.parameters["side"]) == (FRAMES, SIDE)


def test_ctrl_c_keeps_everything_and_the_same_command_ends_with_the_same_weights(
    tuned, prepared, base, tmp_path, run
):
    out, words = tmp_path / "stopped", command(prepared, base, tmp_path / "stopped")
    settings = read_tune_settings(
        epochs=4, batch=2, layers=1, seed=1, learning_rate=1e-2, augment=False
    )

    def press(stage, done, total):
        if (stage, done) == ("epoch 2 of 4", 3):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Cancelled, match=r"stopped after step 8 of 20.*run the same command again"):
        tune(open_prepared(prepared), base, out, settings, pace=Pace(log_every=1), hook=press)
    code, said, err = run(*words, "--resume")
    assert (code, err) == (0, "")
    assert "going on after step 8 of 20" in said
    assert curve(out) == curve(tuned[0])
    both = [one / "best" / "model.safetensors" for one in (out, tuned[0])]
    assert both[0].read_bytes() == both[1].read_bytes()
    last, other = (torch.load(one / "latest" / "state.pt") for one in (out, tuned[0]))
    assert all(torch.equal(value, other["weights"][k]) for k, value in last["weights"].items())
    assert last["progress"] == other["progress"]
    assert sorted(one.name for one in out.iterdir() if one.name != "tensorboard") == [
        *("best", "latest", "log.jsonl")
    ]


def test_what_is_there_is_neither_overwritten_nor_mixed(tuned, prepared, base, tmp_path, run):
    out, _ = tuned
    before = (out / "best" / "model.safetensors").read_bytes()
    code, said, _ = run(*command(prepared, base, out))
    assert code == 0
    assert "trained to its end already" in said
    code, _, err = run(*command(prepared, base, out, "--seed", "2"))
    assert code == 2
    assert "settings.seed was 1 and is 2 now" in err
    assert (out / "best" / "model.safetensors").read_bytes() == before
    (tmp_path / "mine.txt").write_text("mine")
    code, _, err = run(*command(prepared, base, tmp_path))
    assert code == 2
    assert "holds other files" in err
    (out / "latest" / "state.pt").write_bytes(b"PK\x03\x04 cut off")
    code, _, err = run(*command(prepared, base, out))
    assert code == 4
    assert "training can't go on from it" in err


def test_options_that_make_no_sense(prepared, base, tmp_path, run):
    for more, words in (
        (("--pairs", "all"), "--pairs means nothing to VideoMAE"),
        (("--config", "quick"), "--layers goes with --config videomae only"),
        (("--start", "no/such/folder"), "has no config.json"),
        (("--amp", "perhaps"), "training settings: amp"),
    ):
        code, _, err = run(*command(prepared, base, tmp_path / "out", *more))
        assert code in {2, 4}
        assert words in err
        assert not (tmp_path / "out").exists()


def test_a_folder_without_an_encoder_and_a_set_without_answers_are_refused(
    prepared, base, tmp_path, run
):
    config = json.loads((base / "config.json").read_text())
    for name, changed, words in (
        ("other", {"model_type": "bert"}, "is of a 'bert'"),
        ("wide", {"hidden_size": 64}, "is no VideoMAEForVideoClassification"),
        ("deep", {"num_hidden_layers": 3}, "parts of the encoder, such as"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**config, **changed}))
        (folder / "model.safetensors").symlink_to(base / "model.safetensors")
        code, _, err = run(*command(prepared, folder, tmp_path / "out"))
        assert code == 4
        assert words in err
    unsaid = write_set(tmp_path / "set", Shaded(made_rows("train", 1, 1), seconds=2.6))
    code, _, err = run(*command(unsaid, base, tmp_path / "out"))
    assert code == 3
    assert "visual_label" in err
    assert not (tmp_path / "out").exists()
