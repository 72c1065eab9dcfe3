"""From the clip to pictures, a signed report, its check, and paper; with real networks."""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import media_factory as make
from aura import credentials, pipeline, runtime, signing, verify
from aura.errors import ReportError
from aura.explain.explainer import Explainer
from aura.explain.moments import Moment, pictures_at
from aura.media import Frame, decode, probe
from aura.report import Report
from aura.verify import EXIT_CODES

NASTY = '<script>alert(1)</script>"&\x1b[31m.mp4'


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A user's folder with their key."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _keys(home, monkeypatch):
    monkeypatch.setenv("AURA_HOME", str(home))


@pytest.fixture(scope="module")
def explained(talk, home, tmp_path_factory):
    """Folder with the explained and signed report on `talk`, made by the command line."""
    from aura import cli

    folder = tmp_path_factory.mktemp("explained")
    patch = pytest.MonkeyPatch()
    patch.setenv("AURA_HOME", str(home))
    assert cli.run(["analyze", str(talk), "--explain", str(folder), "--quiet"]) == 0
    patch.undo()
    return folder


@pytest.fixture
def copy(explained, tmp_path):
    return Path(shutil.copytree(explained, tmp_path / "copy"))


def report_in(folder):
    return folder / "talk.report.json"


def read(folder):
    return Report.model_validate_json(report_in(folder).read_bytes())


def test_explaining_draws_pictures_and_changes_no_number(explained, talk):
    told = read(explained)
    plain = pipeline.analyze(talk)
    assert told.deterministic_digest == plain.deterministic_digest
    maps = told.explanation.maps
    assert 1 <= len(maps) <= 5
    for one in maps:
        frame, heat = (cv2.imread(str(explained / p.file)) for p in (one.frame, one.heat))
        assert frame.shape == heat.shape == (one.frame.height, one.frame.width, 3)
        assert np.isfinite(one.cells).all()
        assert np.sum(one.cells) + one.bias == pytest.approx(one.logit, abs=1e-4)
        inside = np.zeros(frame.shape[:2], np.uint8)
        size = [one.frame.width, one.frame.height]
        cv2.fillPoly(inside, [np.rint(np.array(one.corners) * size).astype(np.int32)], 1)
        inside = cv2.dilate(inside, np.ones((9, 9), np.uint8)).astype(bool)
        changed = (frame != heat).any(axis=2)
        assert changed.any()
        assert not changed[~inside].any()  # nothing outside of what the network saw
    assert (explained / told.explanation.spectrogram.picture.file).is_file()
    for name in ("scores.svg", "contributions.svg", "sound.svg"):
        assert (explained / name).read_text(encoding="utf-8").startswith("<svg")


def test_scores_on_maps_are_those_of_the_analysis(explained):
    told = read(explained)
    by_picture = {one.frame_id: one.score for one in told.prediction.frame_scores}
    for one in told.explanation.maps:
        assert one.frame_id in by_picture
        assert one.deletion.passed or not one.reliable


def test_maps_are_the_same_again(explained, talk, tmp_path):
    again = pipeline.analyze(talk, explain=Explainer(tmp_path))
    assert again.explanation == read(explained).explanation


def test_moments_are_found_again_by_seeking(talk):
    info = probe(talk)
    sampled = {f.index: f for f in decode(info) if isinstance(f, Frame) and f.rgb is not None}
    wanted = [Moment(sampled[i].time, i, sampled[i].checksum) for i in list(sampled)[::3]]
    found = list(pictures_at(info, wanted[::-1], fps=5.0))
    assert [moment.frame_id for moment, _ in found] == sorted(m.frame_id for m in wanted)
    for moment, frame in found:
        assert np.array_equal(frame.rgb, sampled[moment.frame_id].rgb)


def test_moments_of_a_file_with_broken_times_are_found_by_decoding(talk):
    info = probe(talk)
    sampled = {f.index: f for f in decode(info) if isinstance(f, Frame) and f.rgb is not None}
    number = list(sampled)[4]
    wrong = Moment(sampled[number].time + 0.013, number, sampled[number].checksum)
    ((_, frame),) = pictures_at(info, [wrong], fps=5.0)
    assert np.array_equal(frame.rgb, sampled[number].rgb)


def test_the_untouched_report_verifies_in_another_process_folder_and_clock(
    copy, talk, home, start, tmp_path
):
    video = Path(shutil.copy(talk, tmp_path / "renamed.mp4"))
    process = start(
        "verify",
        report_in(copy),
        video,
        program=("-c", CLOCK_IN_ANOTHER_YEAR.format(home=str(home))),
        cwd=copy.parent,
    )
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert "A second run gave the same numbers, all of them." in out
    assert "FAIL" not in out


CLOCK_IN_ANOTHER_YEAR = """
import datetime, os, sys
os.environ["AURA_HOME"] = {home!r}
from aura import pipeline
class Later(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(days=400)
pipeline.datetime = Later
from aura import cli
sys.exit(cli.run(sys.argv[1:]))
"""


def edit(path, change):
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def test_an_edited_report_is_told(run, copy):
    def lower(document):
        document["prediction"]["manipulation_confidence"] = 0.01

    edit(report_in(copy), lower)
    code, out, _ = run("verify", report_in(copy))
    assert code == EXIT_CODES["altered"] == 10
    assert "changed after it was signed" in out
    assert "do not fit the report's own checksum" in out


def test_a_strangers_report_is_told_and_holds_once_trusted(run, copy, monkeypatch, tmp_path):
    theirs = tmp_path / "theirs"
    monkeypatch.setenv("AURA_HOME", str(theirs))
    _, pem, _ = run("signer", "show")
    (tmp_path / "lab.pem").write_text(pem)
    resigned = signing.sign(read(copy), who="Lab B")
    report_in(copy).write_text(resigned.to_json(), encoding="utf-8")
    monkeypatch.setenv("AURA_HOME", str(tmp_path / "mine"))
    code, out, _ = run("verify", report_in(copy))
    assert code == EXIT_CODES["unknown_key"] == 11
    assert "'Lab B'" in out
    assert run("signer", "trust", "lab-b", tmp_path / "lab.pem")[0] == 0
    code, out, _ = run("verify", report_in(copy))
    assert code == 0
    assert "trusted key 'lab-b'" in out


def test_a_report_without_signature_is_told(run, copy):
    edit(report_in(copy), lambda document: document.pop("signature"))
    code, out, _ = run("verify", report_in(copy))
    assert code == EXIT_CODES["unsigned"] == 12
    assert "no signature" in out


def test_one_changed_byte_of_a_picture_is_named(run, copy):
    picture = copy / "moment-1-map.png"
    data = bytearray(picture.read_bytes())
    data[len(data) // 2] ^= 1
    picture.write_bytes(data)
    code, out, _ = run("verify", report_in(copy))
    assert code == EXIT_CODES["pictures"] == 13
    assert "moment-1-map.png" in out


def test_one_changed_byte_of_the_video_is_told_and_not_analysed(run, copy, talk, tmp_path):
    data = bytearray(talk.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "edited.mp4").write_bytes(data)
    code, out, _ = run("verify", report_in(copy), tmp_path / "edited.mp4")
    assert code == EXIT_CODES["other_video"] == 14
    assert read(copy).provenance.input.sha256 in out
    assert "second run" not in out


def test_one_changed_byte_of_the_weights_is_named(run, copy, talk, monkeypatch, tmp_path):
    folder = Path(shutil.copytree(runtime.weights_dir(), tmp_path / "weights"))
    network = folder / "visual-lite.onnx"
    data = bytearray(network.read_bytes())
    data[len(data) // 2] ^= 1
    network.write_bytes(data)
    monkeypatch.setattr(runtime, "weights_dir", lambda: folder)
    monkeypatch.setattr("aura.profiles.weights_dir", lambda: folder)
    code, out, _ = run("verify", report_in(copy), talk)
    assert code == EXIT_CODES["weights"] == 15
    assert "visual-lite.onnx" in out


def test_every_number_that_another_run_changes_is_listed(explained):
    first = read(explained)
    score = first.prediction.manipulation_confidence
    other = first.model_copy(
        update={
            "prediction": first.prediction.model_copy(
                update={"manipulation_confidence": round(score / 2, 6)}
            ),
            "metadata": first.metadata.model_copy(
                update={
                    "weights_sha256": "0" * 64,
                    "tool_versions": {**first.metadata.tool_versions, "openvino": "1.0"},
                    "finished_at": first.metadata.finished_at + datetime.timedelta(days=1),
                }
            ),
        }
    )
    places = [place for place, _, _ in verify.differences(first, other)]
    assert places == [
        "prediction.manipulation_confidence",
        "metadata.weights_sha256",
        "metadata.tool_versions.openvino",
    ]
    done = verify.Verification()
    verify._tell_differences(first, other, done)
    assert done.exit_code == EXIT_CODES["weights"]
    assert any("openvino" in note for note in done.notes)


def test_a_new_layout_of_the_same_words_holds_and_is_noted(run, copy):
    edit(report_in(copy), lambda document: None)
    report_in(copy).write_text(report_in(copy).read_text() + "\n\n", encoding="utf-8")
    code, out, _ = run("verify", report_in(copy))
    assert code == 0
    assert "laid out anew" in out


def test_no_byte_of_a_report_can_be_changed_unnoticed(copy):
    path = report_in(copy)
    whole = path.read_bytes()
    random = np.random.default_rng(7)
    for place in random.integers(0, len(whole), 150):
        data = bytearray(whole)
        data[place] ^= 1 << int(random.integers(0, 7))
        path.write_bytes(data)
        try:
            done = verify.verify(path)
        except ReportError:
            continue
        assert done.exit_code or any("laid out anew" in note for note in done.notes), place


def test_what_is_no_report_is_told(run, tmp_path):
    for text in ("{}", "[", '{"schema_version": "9.0"}'):
        (tmp_path / "x.json").write_text(text)
        code, _, err = run("verify", tmp_path / "x.json")
        assert code == 5
        assert "x.json" in err


def test_several_videos_cannot_be_explained_into_one_folder(run, talk, tmp_path):
    code, _, err = run("analyze", talk, talk, "--explain", tmp_path / "why")
    assert code == 2
    assert "--explain" in err


class TestOnPaper:
    """`aura report`; needs the extra."""

    @pytest.fixture(autouse=True)
    def _extra(self):
        pytest.importorskip("jinja2", reason="aura-veracity[report] is not installed")
        pytest.importorskip("weasyprint", reason="aura-veracity[report] is not installed")

    def test_html_and_pdf_say_what_was_found_how_and_how_sure(self, run, explained, tmp_path):
        html, pdf = tmp_path / "r.html", tmp_path / "r.pdf"
        code, _, _ = run("report", report_in(explained), "--html", html, "--pdf", pdf)
        assert code == 0
        assert pdf.read_bytes().startswith(b"%PDF-")
        text, told = html.read_text(encoding="utf-8"), read(explained)
        for wanted in (
            told.provenance.input.sha256,
            told.deterministic_digest,
            told.metadata.weights_sha256,
            told.signature.key_id,
            *(one.sha256 for one in told.metadata.models_used),
            "How often this method errs",
            "Chain of custody",
            "To repeat this examination",
            "What they do not show",
            "Content credentials",
        ):
            assert wanted in text
        assert text.count("data:image/jpeg") == 3 * len(told.explanation.maps)
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in text

    def test_markup_in_names_stays_words(self, run, copy, tmp_path):
        told = read(copy)
        given = told.provenance.model_copy(
            update={
                "input": told.provenance.input.model_copy(update={"name": NASTY, "path": NASTY}),
                "c2pa": told.provenance.c2pa.model_copy(
                    update={"status": "invalid", "title": NASTY, "problems": (NASTY,)}
                ),
            }
        )
        signed = signing.sign(told.model_copy(update={"provenance": given}), who=NASTY)
        report_in(copy).write_text(signed.to_json(), encoding="utf-8")
        html = tmp_path / "r.html"
        code, out, err = run(
            "report", report_in(copy), "--html", html, "--pdf", tmp_path / "r.pdf", "--case", NASTY
        )
        assert code == 0
        assert "\x1b" not in out + err
        text = html.read_text(encoding="utf-8")
        assert "<script" not in text
        assert "\x1b" not in text
        assert text.count("&lt;script&gt;alert(1)") >= 5
        code, out, _ = run("verify", report_in(copy))
        assert "\x1b" not in out

    def test_a_report_that_does_not_hold_says_so_first(self, run, copy, tmp_path):
        edit(report_in(copy), lambda document: document["limits"].update(known=[]))
        html = tmp_path / "r.html"
        code, _, err = run("report", report_in(copy), "--html", html)
        assert code == EXIT_CODES["altered"]
        text = html.read_text(encoding="utf-8")
        assert text.index("does not hold as it stands") < text.index('class="verdict"')
        assert "changed after it was signed" in err

    def test_changed_pictures_are_not_printed(self, run, copy, tmp_path):
        for picture in copy.glob("moment-*.png"):
            picture.write_bytes(picture.read_bytes() + b"\0")
        html = tmp_path / "r.html"
        code, _, _ = run("report", report_in(copy), "--html", html)
        assert code == EXIT_CODES["pictures"]
        text = html.read_text(encoding="utf-8")
        assert "data:image/jpeg" not in text
        assert "were changed; none is printed" in text


def test_credentials_are_absent_from_an_ordinary_file(talk):
    assert credentials.examine(talk, "mov,mp4").status == "absent"
    assert not credentials.has_manifest_box(talk)


def test_a_manifest_box_is_noticed_without_any_reader(talk, tmp_path, monkeypatch):
    box = credentials.C2PA_UUID + bytes(40)
    path = tmp_path / "marked.mp4"
    path.write_bytes(talk.read_bytes() + (len(box) + 8).to_bytes(4, "big") + b"uuid" + box)
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    assert credentials.examine(path, "mov,mp4").status == "unread"


def test_a_broken_manifest_is_told_and_analysis_goes_on(talk, tmp_path):
    pytest.importorskip("c2pa", reason="aura-veracity[report] is not installed")
    box = credentials.C2PA_UUID + bytes(4) + b"manifest\0" + bytes(8) + b"nonsense" * 8
    path = tmp_path / "broken.mp4"
    path.write_bytes(talk.read_bytes() + (len(box) + 8).to_bytes(4, "big") + b"uuid" + box)
    found = credentials.examine(path, "mov,mp4")
    assert found.status == "invalid"
    assert found.problems


def test_credentials_are_not_looked_for_where_they_cannot_be(clips):
    path = make.write_clip(clips / "plain.mkv", make.moving_texture(5))
    assert credentials.examine(path, "matroska,webm").status == "not_examined"
