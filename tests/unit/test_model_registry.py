"""Versions of promoted models: explicit, checked, undone, and never half done."""

from __future__ import annotations

import io
import json
from dataclasses import asdict

import pytest

from aura import cli, registry, runtime
from aura.errors import UsageError, WeightsError
from aura.profiles import equipped, load_profile
from aura.promotion import propose
from aura.runtime import ModelCard, find_card, load_model, sha256_file

NAME = "contract-v1"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv(registry.HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setattr(runtime, "_models", {})
    return tmp_path / "home"


@pytest.fixture
def run(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")

    def go(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return go


@pytest.fixture
def make(tmp_path):
    """A release and its evaluation; the bytes stand for a network."""

    def go(weights=b"one", auc=0.8, checkpoint="c" * 64, measured=None, temperature=2.0):
        folder = tmp_path / f"release {weights.decode()}"
        folder.mkdir(exist_ok=True)
        (folder / "model.onnx").write_bytes(weights)
        sha256 = sha256_file(folder / "model.onnx")
        calibration = {"temperature": temperature, "bias": 0.25}
        card = ModelCard(
            name=NAME,
            version="draft",
            file="model.onnx",
            sha256=sha256,
            architecture="a test",
            licence="CC0",
            inputs={},
            outputs={},
            parameters={"calibration": {"contract": calibration, "contract_face": calibration}},
            training={"weights_sha256": checkpoint, "data_hash": "d" * 64},
            limits=("Knows nothing.",),
        )
        (folder / "card.json").write_text(json.dumps({"format": 1, **asdict(card)}))
        evaluation = tmp_path / f"evaluation {weights.decode()}"
        evaluation.mkdir(exist_ok=True)
        figures = {"auc": {"value": auc, "low": auc - 0.1, "high": auc + 0.1}}
        metrics = {"model": {"sha256": measured or sha256}, "video": figures}
        (evaluation / "metrics.json").write_text(json.dumps(metrics))
        return folder, evaluation

    return go


def promote(run, release, version, *options):
    folder, evaluation = release
    return run(
        *("promote", folder, "--as", NAME, "--version", version, "--evaluation", evaluation),
        *options,
    )


def test_promotion_puts_a_version_in_use_with_its_evaluation_attached(run, make, home):
    assert find_card(NAME) is None
    code, out, _ = promote(run, make(), "1.0.0", "--yes", "--note", "first")
    assert code == 0
    assert "nothing in use -> 1.0.0" in out
    folder = home / "models" / NAME / "1.0.0"
    assert find_card(NAME) == folder / "card.json"
    assert (folder / "model.onnx").read_bytes() == b"one"
    assert json.loads((folder / "card.json").read_text())["version"] == "1.0.0"
    assert (folder / "evaluation" / "metrics.json").is_file()
    (event,) = registry.history(NAME)
    assert (event.action, event.version, event.previous, event.note) == (
        "promote",
        "1.0.0",
        None,
        "first",
    )
    assert event.evaluation == sha256_file(folder / "evaluation" / "metrics.json")
    assert event.sha256 == sha256_file(folder / "model.onnx")


def test_the_second_promotion_shows_what_changes_and_rollback_undoes_it(run, make):
    promote(run, make(), "1.0.0", "--yes")
    code, out, _ = promote(run, make(b"two", auc=0.9), "2.0.0", "--yes")
    assert code == 0
    assert "1.0.0 -> 2.0.0" in out
    assert "video auc: 0.800 [0.700, 0.900] -> 0.900 [0.800, 1.000]" in out
    assert "licence: CC0 (unchanged)" in out
    assert registry.in_use(NAME) == "2.0.0"
    code, out, _ = run("models", "list")
    assert [line.endswith("* in use") for line in out.splitlines() if line.startswith(NAME)] == [
        False,
        True,
    ]
    assert run("models", "rollback", NAME, "--yes")[0] == 0
    assert registry.in_use(NAME) == "1.0.0"
    assert find_card(NAME).parent.name == "1.0.0"
    assert [event.action for event in registry.history(NAME)] == ["promote", "promote", "rollback"]
    code, _, err = run("models", "rollback", NAME, "--yes")
    assert code == 2
    assert "no earlier version" in err
    assert "rollback  1.0.0  (before: 2.0.0)" in run("models", "history", NAME)[1]


def test_nothing_changes_without_a_yes(run, make, home, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    code, out, err = promote(run, make(), "1.0.0")
    assert code == 2
    assert "--yes" in err
    monkeypatch.setattr("typer.confirm", lambda _question: False)
    code, out, err = promote(run, make(), "1.0.0")
    assert code == 2
    assert "Nothing changed" in out
    assert not home.exists()


def test_an_evaluation_of_other_weights_is_refused(run, make):
    code, _, err = promote(run, make(measured="e" * 64), "1.0.0", "--yes")
    assert code == 2
    assert "other weights" in err
    assert registry.in_use(NAME) is None


def test_an_evaluation_of_the_checkpoint_that_was_exported_counts(make):
    folder, evaluation = make(checkpoint="c" * 64, measured="c" * 64)
    assert propose(folder, NAME, "1.0.0", evaluation).version == "1.0.0"


def test_without_an_evaluation_nothing_is_promoted(run, make, tmp_path):
    folder, evaluation = make()
    code, _, err = promote(run, (folder, tmp_path / "nowhere"), "1.0.0", "--yes")
    assert code == 2
    assert "aura evaluate" in err
    (evaluation / "metrics.json").write_text('{"video": {}}')
    code, _, err = promote(run, (folder, evaluation), "1.0.0", "--yes")
    assert code == 2
    assert "which weights" in err
    assert registry.in_use(NAME) is None


def test_altered_weights_are_refused_before_and_after_promotion(run, make, home):
    folder, evaluation = make()
    (folder / "model.onnx").write_bytes(b"other")
    code, _, err = promote(run, (folder, evaluation), "1.0.0", "--yes")
    assert code == 4
    assert "SHA-256 differs" in err
    promote(run, make(), "1.0.0", "--yes")
    (home / "models" / NAME / "1.0.0" / "model.onnx").write_bytes(b"harmed")
    with pytest.raises(WeightsError, match=rf"SHA-256 differs.*aura models rollback {NAME}"):
        load_model(NAME, "cpu")
    code, out, err = run("models", "verify")
    assert code == 4
    assert f"BAD   {NAME} 1.0.0" in out
    assert "BAD   " not in out.replace(f"BAD   {NAME}", "")


def test_versions_never_change(run, make, home):
    promote(run, make(), "1.0.0", "--yes")
    code, _, err = promote(run, make(b"two"), "1.0.0", "--yes")
    assert code == 2
    assert "versions never change" in err
    assert (home / "models" / NAME / "1.0.0" / "model.onnx").read_bytes() == b"one"


def test_an_earlier_version_can_be_promoted_again(run, make):
    first = make()
    promote(run, first, "1.0.0", "--yes")
    promote(run, make(b"two"), "2.0.0", "--yes")
    assert promote(run, first, "1.0.0", "--yes")[0] == 0
    assert registry.in_use(NAME) == "1.0.0"
    assert registry.before(NAME) == "2.0.0"


@pytest.mark.parametrize("version", ["../1", "", "1/2", ".hidden"])
def test_names_that_would_leave_the_folder_are_refused(run, make, version):
    code, _, err = promote(run, make(), version, "--yes")
    assert code == 2
    assert "version" in err


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"format": 2, "time": "later"}', "upgrade"),
        ("{", "line 2 is damaged"),
        ('{"format": 1, "version": "1.0.0"}', "line 2 is damaged"),
        ("[]", "line 2 is damaged"),
    ],
)
def test_a_damaged_or_newer_history_is_told_and_left_alone(run, make, home, line, complaint):
    promote(run, make(), "1.0.0", "--yes")
    path = home / "models" / NAME / "history.jsonl"
    path.write_text(path.read_text() + line + "\n")
    before = path.read_bytes()
    with pytest.raises(WeightsError, match=complaint):
        find_card(NAME)
    code, _, err = promote(run, make(b"two"), "2.0.0", "--yes")
    assert code == 4
    assert complaint in err
    assert path.read_bytes() == before
    code, out, _ = run("doctor")
    assert code == 4  # told there as well, and no crash
    assert complaint in out


def test_a_version_that_is_gone_is_told(run, make, home):
    promote(run, make(), "1.0.0", "--yes")
    (home / "models" / NAME / "1.0.0" / "card.json").unlink()
    with pytest.raises(WeightsError, match=r"in use, but .* is gone"):
        find_card(NAME)


def test_a_full_disk_leaves_the_version_in_use(run, make, home, monkeypatch):
    promote(run, make(), "1.0.0", "--yes")

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    code, _, err = promote(run, make(b"two"), "2.0.0", "--yes")
    assert code == 2
    assert "No space left" in err
    assert registry.in_use(NAME) == "1.0.0"
    assert registry.versions(NAME) == ["1.0.0"]
    assert not list((home / "models" / NAME).glob(".*"))


def test_the_profile_takes_version_calibration_and_limits_of_what_is_in_use(run, make):
    promote(run, make(), "1.0.0", "--yes")
    first = equipped(load_profile(NAME))
    assert first.version == "1.0.0"
    assert first.detector("contract").calibration.temperature == 2.0
    assert first.detector("contract").calibration.bias == 0.25
    assert first.detector("contract_match").calibration.temperature == 1.0
    assert first.limits[-1] == "Knows nothing."
    promote(run, make(b"two", temperature=3.0), "2.0.0", "--yes")
    second = equipped(load_profile(NAME))
    assert second.detector("contract").calibration.temperature == 3.0
    assert second.config_sha256 != first.config_sha256


def test_without_weights_the_profile_says_what_is_missing_before_anything_is_opened(run, home):
    code, out, err = run("analyze", "--profile", NAME, "no such file.mp4")
    assert (code, out) == (4, "")
    assert "no weights on this machine" in err
    assert str(home) in err
    commands = [line.split()[1] for line in err.splitlines() if line.startswith("    aura ")]
    assert commands == ["data", "train", "calibrate", "evaluate", "export", "promote"]


def test_the_commands_that_the_profile_names_exist(run):
    for command in load_profile(NAME).obtain:
        words = command.split()[1:]
        name = words[: 2 if words[0] == "data" else 1]
        code, out, _ = run(*name, "--help")
        assert code == 0
        for option in (word for word in words if word.startswith("--")):
            assert option in out


def test_lite_needs_nothing_from_the_registry(home):
    profile = load_profile("lite")
    assert equipped(profile) == profile
    assert not home.exists()


def test_where_the_registry_lies(monkeypatch, tmp_path):
    monkeypatch.delenv(registry.HOME_VARIABLE)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert registry.models_dir() == tmp_path / "data" / "aura" / "models"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registry.home() == tmp_path / ".local" / "share" / "aura"


def test_a_rollback_needs_a_known_model():
    with pytest.raises(UsageError, match="no earlier version"):
        registry.before("nothing")
