"""The command line as a user meets it: output, exit codes, many files, resuming, no traceback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import made_up_aura
import pytest

import aura
from aura import cli, interrupts
from aura.batch import LINE_START, Settings, run_batch
from aura.errors import UnreadableMedia
from aura.media_files import find_media
from aura.report import Report

HERE = Path(__file__).parent


@pytest.fixture
def run(monkeypatch, capsysbinary, tmp_path):
    """Run one command line in this process: (exit code, stdout, stderr)."""
    monkeypatch.setattr(cli, "_load_pipeline", lambda: made_up_aura.analyze)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv(cli.DEBUG_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    made_up_aura.analysed.clear()

    def go(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        out, err = capsysbinary.readouterr()
        return code, out.decode(), err.decode()

    return go


def clip(path, content="real"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def process(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, HERE / "made_up_aura.py", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(HERE), "COLUMNS": "80"},
        **options,
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("fake", "▲ Likely manipulated"),
        ("real", "● No sign of manipulation found"),
        ("unclear", "◆ Uncertain"),
    ],
)
def test_one_file_gives_a_panel_with_the_verdict_in_words(run, tmp_path, content, words):
    code, out, err = run("analyze", clip(tmp_path / "talk.mp4", content))
    assert (code, err) == (0, "")
    assert words in out
    assert "talk.mp4" in out
    assert "not a finding of fact" in out
    assert "Motion" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_json_prints_the_report_and_nothing_else(run, tmp_path):
    code, out, err = run("analyze", clip(tmp_path / "täglich.mp4", "fake"), "--json")
    assert (code, err) == (0, "")
    report = Report.model_validate_json(out)
    assert report.prediction.overall_class == "fake"
    assert report.provenance.input.name == "täglich.mp4"


def test_out_writes_the_report_beside_the_panel(run, tmp_path):
    code, out, err = run("analyze", clip(tmp_path / "talk.mp4"), "--out", tmp_path / "reports")
    target = tmp_path / "reports" / "talk.report.json"
    assert code == 0
    assert "Verdict" in out
    assert str(target) in err
    assert Report.model_validate_json(target.read_text()).provenance.input.name == "talk.mp4"
    assert [p.name for p in target.parent.iterdir()] == ["talk.report.json"]


def test_quiet_with_out_prints_nothing(run, tmp_path):
    code, out, err = run("analyze", clip(tmp_path / "a.mp4"), "--out", tmp_path / "r", "--quiet")
    assert (code, out, err) == (0, "", "")


def test_two_files_of_one_stem_both_keep_their_report(run, tmp_path):
    first, second = clip(tmp_path / "a/talk.mp4", "fake"), clip(tmp_path / "b/talk.mov", "real")
    code, _, _ = run("analyze", first, second, "--out", tmp_path / "r")
    reports = [Report.model_validate_json(p.read_text()) for p in (tmp_path / "r").iterdir()]
    assert code == 0
    assert {r.provenance.input.path for r in reports} == {str(first), str(second)}
    run("analyze", first, second, "--out", tmp_path / "r")
    assert len(list((tmp_path / "r").iterdir())) == 2  # the same bytes replace their own report


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["analyze", "missing.mp4"], 3, "missing.mp4 does not exist"),
        (["analyze", "broken.mp4"], 3, "broken.mp4 is no video"),
        (["analyze", "weightless.mp4"], 4, "reinstall"),
        (["analyze", "real.mp4", "--profile", "best"], 2, "choose one of contract-v1, ensemble"),
        (["analyze", "real.mp4", "--faces", "some"], 2, "--faces"),
        (["analyze", "real.mp4", "--fps", "many"], 2, "--fps"),
        (["analyze", "real.mp4", "--colour"], 2, "No such option"),
        (["analyze"], 2, "Missing argument"),
        (["analyse"], 2, "No such command"),
        (["analyze", "empty-folder"], 3, "holds no video file"),
        (["analyze", "real.mp4", "--jsonl", "broken.mp4"], 2, "no results file"),
        (["analyze", "real.mp4", "--out", "broken.mp4/sub"], 2, "can't be created"),
        (["analyze", "bug.mp4"], 1, "internal error (ZeroDivisionError: float division by zero)"),
    ],
)
def test_mistakes_end_in_one_clear_message_and_their_exit_code(
    run, tmp_path, arguments, code, words
):
    for name in ("real", "broken", "bug"):
        clip(tmp_path / f"{name}.mp4", name)
    clip(tmp_path / "weightless.mp4", "no weights")
    (tmp_path / "empty-folder").mkdir()
    got, out, err = run(*arguments)
    assert got == code
    assert words in err
    assert out == ""
    assert "Traceback" not in err
    assert (tmp_path / "broken.mp4").read_text() == "broken"


def test_debug_shows_the_traceback(run, tmp_path, monkeypatch):
    monkeypatch.setenv(cli.DEBUG_VARIABLE, "")
    code, _, err = run("--debug", "analyze", clip(tmp_path / "bug.mp4", "bug"))
    assert code == 1
    assert "Traceback" in err
    assert "in analyze" in err


def test_many_files_go_on_after_failures(run, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    clip(tmp_path / "clips/a.mp4", "fake")
    clip(tmp_path / "clips/b.mkv", "broken")
    clip(tmp_path / "clips/deep/c.WEBM", "bug")
    clip(tmp_path / "clips/d.mp4", "real")
    clip(tmp_path / "clips/notes.txt", "fake")
    code, out, err = run("analyze", tmp_path / "clips", "--jsonl", tmp_path / "r.jsonl")
    assert code == 3
    lines = lines_of(tmp_path / "r.jsonl")
    assert [(Path(x["path"]).name, x["status"]) for x in lines] == [
        ("a.mp4", "completed"),
        ("b.mkv", "failed"),
        ("d.mp4", "completed"),
        ("c.WEBM", "failed"),
    ]
    assert lines[1]["error"]["kind"] == "unreadable_media"
    assert lines[3]["error"]["kind"] == "internal"
    assert lines[1]["report"] is None
    assert Report.model_validate(lines[0]["report"]).prediction.overall_class == "fake"
    assert "4 files: 1 likely manipulated, 1 without a sign of it, 0 uncertain, 2 failed" in err
    assert [line.split()[-1] for line in out.splitlines()] == [
        str(tmp_path / "clips" / name) for name in ("a.mp4", "d.mp4")
    ]
    assert "b.mkv is no video" in err
    assert "c.WEBM: internal error" in err


def test_missing_weights_stop_the_run_instead_of_failing_every_file(run, tmp_path):
    clip(tmp_path / "clips/a.mp4", "real")
    clip(tmp_path / "clips/b.mp4", "no weights")
    clip(tmp_path / "clips/c.mp4", "real")
    code, _, _ = run("analyze", tmp_path / "clips", "--jsonl", tmp_path / "r.jsonl")
    assert code == 4
    assert len(lines_of(tmp_path / "r.jsonl")) == 1


def test_a_second_run_does_only_what_is_missing(run, tmp_path):
    results = tmp_path / "r.jsonl"
    for name in "abc":
        clip(tmp_path / f"clips/{name}.mp4", "real")
    clip(tmp_path / "clips/x.mp4", "broken")
    assert run("analyze", tmp_path / "clips", "--jsonl", results)[0] == 3
    made_up_aura.analysed.clear()
    code, _, err = run("analyze", tmp_path / "clips", "--jsonl", results)
    assert made_up_aura.analysed == []
    assert code == 3  # the broken one still has no report
    assert "4 files: 4 done in an earlier run (1 failed)." in err
    clip(tmp_path / "clips/b.mp4", "fake, this time")
    clip(tmp_path / "clips/d.mp4", "fake")
    run("analyze", tmp_path / "clips", "--jsonl", results)
    assert made_up_aura.analysed == ["b.mp4", "d.mp4"]
    assert len(lines_of(results)) == 6
    made_up_aura.analysed.clear()
    run("analyze", tmp_path / "clips", "--jsonl", results, "--faces", "single")
    assert len(made_up_aura.analysed) == 5  # another question about the same files


def test_failures_that_do_not_lie_in_the_file_are_tried_again(run, tmp_path):
    results = tmp_path / "r.jsonl"
    clip(tmp_path / "a.mp4", "bug")
    run("analyze", tmp_path / "a.mp4", "--jsonl", results)
    made_up_aura.analysed.clear()
    run("analyze", tmp_path / "a.mp4", "--jsonl", results)
    assert made_up_aura.analysed == ["a.mp4"]


@pytest.mark.parametrize("cut", [1, 7, 40, 3000])
def test_a_line_cut_short_by_a_crash_is_repaired(run, tmp_path, cut):
    results = tmp_path / "r.jsonl"
    files = [clip(tmp_path / f"{name}.mp4", "fake") for name in "ab"]
    run("analyze", *files, "--jsonl", results)
    whole = results.read_bytes()
    first = whole.index(b"\n") + 1
    results.write_bytes(whole[:first] + whole[first : first + cut])
    made_up_aura.analysed.clear()
    run("analyze", *files, "--jsonl", results)
    assert made_up_aura.analysed == ["b.mp4"]
    assert [Path(x["path"]).name for x in lines_of(results)] == ["a.mp4", "b.mp4"]


def test_a_whole_last_line_without_newline_counts_as_done(run, tmp_path):
    results = tmp_path / "r.jsonl"
    file = clip(tmp_path / "a.mp4", "fake")
    run("analyze", file, "--jsonl", results)
    results.write_bytes(results.read_bytes().rstrip(b"\n"))
    made_up_aura.analysed.clear()
    run("analyze", file, clip(tmp_path / "b.mp4"), "--jsonl", results)
    assert made_up_aura.analysed == ["b.mp4"]
    assert len(lines_of(results)) == 2


def test_a_file_that_holds_something_else_is_never_touched(run, tmp_path):
    file = clip(tmp_path / "a.mp4", "fake")
    for content in ('{"mine": 1}\n', "one line without an end", LINE_START.decode() + "}\n"):
        other = clip(tmp_path / "notes.jsonl", content)
        assert run("analyze", file, "--jsonl", other)[0] == 2
        assert other.read_text() == content


def test_two_runs_can_not_write_one_results_file(run, tmp_path):
    from aura.batch import ResultsFile

    with ResultsFile(tmp_path / "r.jsonl"):
        code, _, err = run("analyze", clip(tmp_path / "a.mp4"), "--jsonl", tmp_path / "r.jsonl")
    assert code == 2
    assert "another run" in err


def test_several_files_with_json_print_one_line_each(run, tmp_path):
    files = [clip(tmp_path / "a.mp4", "fake"), clip(tmp_path / "b.mp4", "broken")]
    code, out, err = run("analyze", *files, "--json")
    assert code == 3
    first, second = (json.loads(line) for line in out.splitlines())
    assert (first["status"], second["status"]) == ("completed", "failed")
    assert "b.mp4 is no video" in err


def test_folders_are_searched_in_order_without_doubles_and_hidden_files(tmp_path):
    for name in ("b.mp4", "a.MOV", "sub/c.avi", ".part.mp4", "readme.md"):
        clip(tmp_path / name)
    found = find_media([tmp_path / "b.mp4", tmp_path, tmp_path / "sub"])
    assert [p.name for p in found.files] == ["b.mp4", "a.MOV", "c.avi"]
    assert found.told() == ""


def test_pictures_and_sounds_in_folders_are_told_of_and_taken_when_asked_for(run, tmp_path):
    folder = tmp_path / "clips"
    for name in ("a.mp4", "thumb/a.JPG", "thumb/b.png", "voice.opus", ".hidden.jpg", "note.txt"):
        clip(folder / name)
    code, out, err = run("analyze", folder, "--json")
    assert (code, len(out.splitlines())) == (0, 1)
    assert "2 pictures and 1 sound in these folders were left aside; --media all" in err
    assert "left aside" not in run("analyze", folder, "--quiet")[2]
    code, out, err = run("analyze", folder, folder / "thumb" / "a.JPG", "--json")
    assert len(out.splitlines()) == 2  # named, so it is taken
    assert "1 picture and 1 sound in these" in err
    for media, count in (("image", 2), ("audio", 1), ("all", 4)):
        code, out, err = run("analyze", folder, "--media", media, "--json")
        assert (code, len(out.splitlines())) == (0, count)
        assert ("left aside" in err) == (media != "all")


def test_a_folder_of_pictures_alone_says_how_to_have_them_analysed(run, tmp_path):
    clip(tmp_path / "photos" / "a.png")
    code, _, err = run("analyze", tmp_path / "photos")
    assert code == 3
    assert "holds no video. 1 picture in these folders was left aside; --media all" in err
    assert run("analyze", tmp_path / "photos", "--media", "image")[0] == 0


def test_file_names_can_not_send_codes_to_the_terminal(run, tmp_path):
    evil = clip(tmp_path / "\x1b[31mred\x07.mp4", "fake")
    for arguments in ([evil], [evil, evil.parent], [tmp_path / "\x1b]0;owned\x07.mp4"]):
        _, out, err = run("analyze", *arguments)
        assert "\x1b" not in out + err
        assert "\x07" not in out + err


def test_closed_pipe_is_no_error_message(tmp_path):
    one = ["analyze", clip(tmp_path / "a.mp4", "fake")]
    for arguments in (one, [*one, "--json"], [*one, *one[1:], "--json"], ["--help"]):
        with process(*arguments) as started:
            started.stdout.close()
            err = started.stderr.read().decode()
            assert started.wait(20) == cli.EXIT_PIPE_CLOSED
        assert err == ""


def test_ctrl_c_ends_with_130_and_keeps_the_lines_that_are_done(tmp_path):
    files = [clip(tmp_path / "a.mp4", "fake"), clip(tmp_path / "b.mp4", "slow")]
    results = tmp_path / "r.jsonl"
    with process("analyze", *files, "--jsonl", results) as started:
        deadline = time.monotonic() + 20
        while not (tmp_path / "b.mp4.started").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        started.send_signal(signal.SIGINT)
        _, err = started.communicate(timeout=20)
        assert started.returncode == 130
    assert b"stopped after 1 of 2 files; run the same command again" in err
    assert b"Traceback" not in err
    assert len(lines_of(results)) == 1
    assert not list(tmp_path.glob("*.tmp"))


def test_ctrl_c_is_remembered_while_a_command_runs_and_nobody_elses_handler_is_touched():
    def mine(*_):
        raise AssertionError("not this one")

    with interrupts.remembered():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupts.look()
    interrupts.look()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    for other in (mine, signal.SIG_IGN):
        before = signal.signal(signal.SIGINT, other)
        try:
            with interrupts.remembered():
                assert signal.getsignal(signal.SIGINT) is other
        finally:
            signal.signal(signal.SIGINT, before)


def test_ctrl_c_within_an_exec_of_text_ends_with_130_too(tmp_path):
    (tmp_path / "pressed.py").write_text(
        "from aura import __main__, cli\n"
        "cli.run = lambda _: exec('raise KeyboardInterrupt')\n"
        "__main__.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pressed"], cwd=tmp_path, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, b"aura: stopped; nothing was kept\n")


def test_a_dropped_ctrl_c_is_not_told_as_the_fault_of_a_file(tmp_path):
    def decode(path):
        with contextlib.suppress(KeyboardInterrupt):  # as a decoder's callback would
            signal.raise_signal(signal.SIGINT)
        raise UnreadableMedia(f"{path} breaks off")

    files = [clip(tmp_path / "a.mp4")]
    with interrupts.remembered(), pytest.raises(KeyboardInterrupt):
        run_batch(files, decode, Settings("lite", "all", None))


def test_output_works_where_the_terminal_knows_only_ascii(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(HERE), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, HERE / "made_up_aura.py", "analyze", clip(tmp_path / "ü.mp4", "fake")],
        env={**environment, "COLUMNS": "80"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"! Likely manipulated" in done.stdout
    done.stdout.decode("ascii")


def test_help_needs_no_heavy_library_and_comes_at_once():
    code = (
        "import sys, aura.cli; aura.cli.run(['--help']);"
        "heavy = {'openvino', 'av', 'cv2', 'numpy', 'pydantic'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"analyze" in done.stdout
    assert time.perf_counter() - started < 3.0  # 0.1 s when idle; the limit spares busy machines


def test_python_dash_m_is_the_same_program():
    done = subprocess.run(
        [sys.executable, "-m", "aura", "--version"], capture_output=True, check=False
    )
    assert done.stdout.decode() == f"aura {aura.__version__}\n"


def test_schema_command_prints_the_published_schema(run):
    code, out, _ = run("schema")
    assert code == 0
    published = HERE.parents[1] / "docs" / "report.schema.json"
    assert out == published.read_text()


def test_doctor_and_models_tell_a_damaged_weight_file(run, tmp_path, monkeypatch):
    import shutil

    from aura import runtime

    folder = tmp_path / "weights"
    shutil.copytree(runtime.weights_dir(), folder)
    monkeypatch.setattr(runtime, "weights_dir", lambda: folder)
    assert run("models", "verify")[0] == 0
    victim = folder / "silero-vad.onnx"
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    code, out, err = run("models", "verify")
    assert code == 4
    assert "silero-vad.onnx is not the file" in out
    assert "reinstall" in err
    code, out, _ = run("doctor", "--json")
    assert code == 4
    bad = [c["name"] for c in json.loads(out)["checks"] if c["state"] == "bad"]
    assert "silero-vad" in bad
    (folder / "silero-vad.json").write_text("{")
    code, out, _ = run("doctor")
    assert code == 4
    assert "not valid JSON" in out
    assert "retinaface-mobilenet" in out  # one broken card does not hide the others


def test_models_list_names_version_and_licence(run):
    code, out, _ = run("models", "list")
    assert code == 0
    assert "silero-vad" in out
    assert "MIT" in out


def test_public_names_are_pinned():
    assert aura.__all__ == ["AuraError", "Report", "__version__", "analyze"]
    assert aura.Report is Report
    assert issubclass(aura.AuraError, Exception)
    with pytest.raises(AttributeError, match="no attribute 'secret'"):
        aura.secret  # noqa: B018
