"""One clip from file to report with everything real: evidence, numbers that repeat, and limits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import aura
import media_factory as make
from aura import runtime
from aura.profiles import load_profile
from aura.report import Report

DETECTORS = ("visual_blend", "visual_generated", "sync", "temporal", "audio")


@pytest.fixture(scope="module")
def spoken(speaking):
    """The report on the sample, made in Python."""
    return aura.analyze(str(speaking))


def test_python_and_the_command_line_give_the_same_report(spoken, speaking, report_of):
    assert isinstance(spoken, aura.Report)
    again = report_of(speaking)
    assert again.deterministic_digest == spoken.deterministic_digest
    assert again.prediction == spoken.prediction
    assert again.detectors == spoken.detectors


def test_the_same_bytes_under_another_name_give_the_same_numbers(report_of, talk, tmp_path):
    elsewhere = tmp_path / "Über uns" / "noch einmal.mov"
    elsewhere.parent.mkdir()
    shutil.copyfile(talk, elsewhere)
    here, there = report_of(talk), report_of(elsewhere)
    assert here.deterministic_digest == there.deterministic_digest
    assert here.prediction == there.prediction
    assert here.provenance.frame_checksums == there.provenance.frame_checksums
    assert there.provenance.input.name == "noch einmal.mov"


def test_another_sampling_rate_is_another_report(report_of, talk):
    usual, dense = report_of(talk), report_of(talk, "--fps", "10")
    assert (usual.metadata.frames_analyzed, dense.metadata.frames_analyzed) == (12, 24)
    assert dense.provenance.decoding.sampling_fps == 10
    assert usual.deterministic_digest != dense.deterministic_digest


def test_a_speaking_face_is_judged_by_every_detector_that_there_is(spoken):
    found = {one.name: one for one in spoken.detectors}
    assert tuple(found) == DETECTORS
    for name in ("visual_blend", "visual_generated"):
        assert found[name].status == "ok"
        assert found[name].details["faces"] == 40
        assert len(found[name].windows) >= 14  # 8 s in steps of half a second
    assert found["sync"].status == "ok"
    assert found["sync"].details["speech_seconds"] > 2.4
    assert found["audio"].status == "ok"
    assert found["audio"].subject is None
    assert found["audio"].details["windows_judged"] == len(found["audio"].windows) >= 5
    assert found["temporal"].status == "not_applicable"
    assert "profile lite-experimental runs it" in found["temporal"].reason
    assert sum(one.share for one in found.values() if one.share) == pytest.approx(1.0, abs=1e-5)
    assert spoken.metadata.frames_analyzed == 40
    assert spoken.metadata.video_duration_sec == pytest.approx(8.0, abs=0.1)


def test_the_report_names_all_that_decides_its_numbers(spoken, speaking):
    meta, given = spoken.metadata, spoken.provenance.input
    assert given.sha256 == runtime.sha256_file(speaking)
    assert given.size_bytes == speaking.stat().st_size
    assert meta.config_sha256 == load_profile("lite").config_sha256
    used = {model.name: model.sha256 for model in meta.models_used}
    cards = {card.name: card.sha256 for card in runtime.list_cards()}
    del cards["temporal-lite"]  # experimental
    assert used == cards  # all other shipped models take part, and nothing else
    assert {"visual-lite", "sync-cca", "retinaface-mobilenet", "silero-vad"} < set(used)
    assert meta.tool_versions["aura"] == aura.__version__
    assert {"python", "openvino", "av", "opencv", "numpy"} < set(meta.tool_versions)
    assert "absent" not in meta.tool_versions.values()
    assert "libavcodec" in spoken.provenance.decoding.libraries
    assert len(spoken.provenance.frame_checksums.listed) == meta.frames_analyzed
    assert meta.started_at.utcoffset().total_seconds() == 0
    assert meta.finished_at >= meta.started_at


def test_experimental_detectors_run_when_asked_for_and_change_no_other_number(talk, report_of):
    usual, more = report_of(talk), report_of(talk, "--profile", "lite-experimental")
    found = {one.name: one for one in more.detectors}
    assert found["temporal"].status == "ok"
    assert found["temporal"].details["windows_judged"] == len(found["temporal"].windows) == 1
    assert more.metadata.model_version.startswith("lite-experimental-")
    assert more.prediction == usual.prediction
    assert [one for one in more.detectors if one.name != "temporal"] == [
        one for one in usual.detectors if one.name != "temporal"
    ]


def test_the_hook_hears_every_stage_in_order_and_time_only_grows(talk):
    heard = []
    aura.analyze(talk, hook=lambda *told: heard.append(told))
    stages = list(dict.fromkeys(stage for stage, _, _ in heard))
    assert stages == ["probe", "analyse", "verdict"]
    done = [completed for stage, completed, _ in heard if stage == "analyse"]
    assert done == sorted(done)
    assert done[-1] == pytest.approx(2.4, abs=0.1)


def test_an_exception_in_the_hook_stops_the_analysis(talk):
    class Enough(Exception):
        pass

    def stop(stage, completed, total):
        if stage == "analyse":
            raise Enough

    with pytest.raises(Enough):
        aura.analyze(talk, hook=stop)


def test_errors_reach_python_as_exceptions_that_name_the_file(tmp_path):
    with pytest.raises(aura.AuraError, match=r"no\.mp4 does not exist"):
        aura.analyze(tmp_path / "no.mp4")


def test_the_panel_and_the_file_of_a_real_run_say_the_same(run, talk, tmp_path):
    code, out, err = run("analyze", talk, "--out", tmp_path)
    report = Report.model_validate_json((tmp_path / "talk.report.json").read_text())
    assert code == 0
    assert err == f"Report written to {tmp_path / 'talk.report.json'}\n"
    assert f"Score {report.prediction.manipulation_confidence:.2f}" in out
    assert all(len(line) <= 80 for line in out.splitlines())
    for one in report.detectors:
        assert one.label in out


WATCHED = """
import atexit, sys
asked = []
outward = ("socket.", "os.fork", "subprocess.", "os.posix_spawn", "os.system")
sys.addaudithook(lambda event, args: asked.append(event) if event.startswith(outward) else None)
atexit.register(lambda: print(*asked, file=sys.stderr))
from aura.__main__ import main
main()
"""


def test_nothing_is_sent_and_nothing_is_left_on_the_machine(start, talk):
    child = start("analyze", talk, "--quiet", program=("-c", WATCHED))
    out, err = child.communicate(timeout=120)
    assert (child.returncode, err) == (
        0,
        "\n",
    )  # no socket, and no other process that could ask for one
    assert "Verdict" in out
    assert list(start.home.iterdir()) == list(start.scratch.iterdir()) == []


# --- weights


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A copy of the shipped weights that a test may damage."""
    folder = tmp_path / "weights"
    shutil.copytree(runtime.weights_dir(), folder)
    monkeypatch.setattr(runtime, "weights_dir", lambda: folder)
    monkeypatch.setattr(runtime, "_models", {})
    return folder


def altered(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def no_network(path):
    """Another file with a card that fits it."""
    path.write_bytes(b"not a network")
    card = path.with_suffix(".json")
    text = json.loads(card.read_text())
    card.write_text(json.dumps({**text, "sha256": runtime.sha256_file(path)}))


def no_card(path):
    path.with_suffix(".json").unlink()


def newer_card(path):
    card = path.with_suffix(".json")
    card.write_text(json.dumps({**json.loads(card.read_text()), "format": 99}))


@pytest.mark.parametrize(
    ("model", "damage", "words"),
    [
        ("visual-lite", lambda path: path.unlink(), "is missing; reinstall aura-veracity"),
        ("sync-cca", altered, "SHA-256 differs); reinstall aura-veracity"),
        ("whisper-tiny-stem", altered, "SHA-256 differs); reinstall aura-veracity"),
        ("retinaface-mobilenet", altered, "SHA-256 differs); reinstall aura-veracity"),
        ("silero-vad", lambda path: path.unlink(), "is missing; reinstall aura-veracity"),
        ("visual-lite", no_network, "can't be opened as a network"),
        ("visual-lite", no_card, "which is not here; reinstall aura-veracity"),
        ("visual-lite", newer_card, "upgrade aura-veracity"),
    ],
)
def test_damaged_weights_end_with_4_and_one_line_before_anything_is_judged(  # noqa: PLR0917
    run, talk, weights, model, damage, words
):
    damage(weights / f"{model}.onnx")
    code, out, err = run("analyze", talk)
    assert (code, out) == (4, "")
    assert words in err
    assert f"{model}." in err
    assert err.count("\n") == 1


def test_damaged_weights_stop_a_run_over_many_files_at_once(run, talk, nobody, weights, tmp_path):
    altered(weights / "visual-lite.onnx")
    code, out, _ = run("analyze", talk, nobody, "--jsonl", tmp_path / "r.jsonl")
    assert (code, out) == (4, "")
    assert (tmp_path / "r.jsonl").read_bytes() == b""


# --- memory

# Read from the kernel: what `resource` tells begins with the peak of the process that started it.
MEASURED = """
import sys
from aura.cli import run
code = run(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1], file=sys.stderr)
sys.exit(code)
"""


def peak_memory(start, path):
    """Peak resident memory of an analysis in MB."""
    child = start("analyze", path, "--quiet", "--json", "--fps", "2", program=("-c", MEASURED))
    _, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    return int(err) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_memory_does_not_grow_with_the_clip(start, portrait, clips):
    def clip(seconds):
        pictures = list(make.head(portrait, 50, 400, 300)) * (seconds // 5)
        sound = make.Sound(make.tone(seconds, 16_000, 1), 16_000, "mono")
        return make.write_clip(clips / f"{seconds} s.mp4", pictures, fps=10, audio=sound)

    short, long = (peak_memory(start, clip(seconds)) for seconds in (10, 60))
    # Pictures that were kept would add 60 MB here; up to 15 MB are the allocator's own.
    assert long < short + 35, (short, long)


def test_a_detector_can_be_switched_off_and_verify_runs_the_same_again(run, talk, tmp_path):
    code, _, _ = run("analyze", talk, "--out", tmp_path, "--without", "visual_blend", "--quiet")
    assert code == 0
    (path,) = tmp_path.glob("*.json")
    report = Report.model_validate_json(path.read_text())
    assert report.metadata.without == ("visual_blend",)
    off = next(one for one in report.detectors if one.name == "visual_blend")
    assert off.status == "not_applicable"
    code, out, err = run("verify", path, talk)
    assert code == 0, out + err
    code, _, err = run("analyze", talk, "--without", "nose")
    assert code == 2
    assert "visual_generated" in err
