"""What the page says and draws, without a server: words, lanes, old records, files of others."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import string
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from aura.examiner import wording
from aura.profiles import load_profile
from aura.web import moments_view, texts, tracks, verdict_view
from aura.web.reading import length_of
from aura.web.said import said as said_in

WEB = Path(texts.__file__).parent
VENDOR = WEB / "static" / "vendor"
EN = texts.load("en")
# Keys that templates and views put together from a part and a value.
JOINED = re.compile(
    r"(state|strength|modality|detector|verdict|meaning|limits|failed|message|said)\."
    r"|home\.step_|share\.day_|history\.(real|fake|uncertain)|progress\.(fetch|probe|analyse|verdict|explain)"
)


def places(text: str) -> set[str | None]:
    return {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}


@pytest.mark.parametrize("language", texts.languages()[1:])
def test_every_language_has_the_same_words_with_the_same_values(language: str) -> None:
    other = texts.load(language)
    assert other.keys() == EN.keys()
    for key in sorted(EN.keys()):
        assert places(other.raw(key)) == places(EN.raw(key)), key


def test_no_words_lie_unused_and_none_are_missing() -> None:
    sources = [*WEB.glob("*.py"), *WEB.glob("templates/*")]
    source = "".join(path.read_text(encoding="utf-8") for path in sources)
    used = set(re.findall(r"[\"']([a-z0-9]+(?:_[a-z0-9]+)*\.[a-z0-9_]+)[\"']", source))
    unused = {key for key in EN.keys() - used if not JOINED.match(key)}
    assert unused == set()
    asked = set(re.findall(r"\bt(?:\.raw)?\(\s*[\"']([a-z0-9_.]+[a-z0-9])[\"']", source))
    assert asked - EN.keys() == set()
    assert len(asked) > 100


def test_page_and_paper_put_a_verdict_in_the_same_words() -> None:
    for kind in verdict_view.KINDS:
        assert EN(f"verdict.{kind}") == wording.HEADLINES[kind]
        assert EN(f"meaning.{kind}") == wording.MEANINGS[kind]
    on_page = [(bound, EN(f"strength.{word}")) for bound, word in verdict_view.STRENGTHS]
    assert on_page == list(wording.STRENGTHS)


@pytest.mark.parametrize(
    ("wished", "accepted", "language"),
    [
        (None, "de-AT,de;q=0.9,en;q=0.5", "de"),
        (None, "fr,en;q=0.8", "en"),
        ("en", "de", "en"),
        ("../../etc/passwd", "de", "de"),
        (None, None, "en"),
    ],
)
def test_the_language_is_the_one_wished_for_or_accepted(
    wished: str | None, accepted: str | None, language: str
) -> None:
    assert texts.chosen(wished, accepted).language == language


def test_files_of_others_are_what_their_packages_hold() -> None:
    listed = tomllib.loads((VENDOR / "VENDORED.toml").read_text(encoding="utf-8"))["file"]
    for one in listed:
        data = (VENDOR / one["name"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == one["sha256"], one["name"]
        assert (VENDOR / one["licence_file"]).stat().st_size > 100
        assert one["version"]
        assert one["licence"] in {"0BSD", "OFL-1.1", "MIT"}
    named = {one["name"] for one in listed} | {one["licence_file"] for one in listed}
    assert {path.name for path in VENDOR.iterdir()} == named | {"VENDORED.toml"}


def windows(seconds: float) -> list[dict[str, float]]:
    count = int(seconds / 0.5) - 1
    made = [
        {"start": n / 2, "end": n / 2 + 1, "score": 0.1 + 0.001 * (n % 50)} for n in range(count)
    ]
    made[count // 3]["score"] = 0.987
    return made


def report_with(seconds: float, **prediction: Any) -> dict[str, Any]:
    detector = {
        "name": "visual_blend",
        "label": "Face: pasted in",
        "modality": "visual",
        "subject": 1,
        "status": "ok",
        "score": 0.2,
        "share": 1.0,
        "windows": windows(seconds),
        "windows_total": int(seconds / 0.5) - 1,
    }
    return {
        "prediction": {"overall_class": "real", "decisive_subject": 1, **prediction},
        "subjects": [{"id": 1, "decisive": True, "score": 0.2, "first_seen": 0, "last_seen": 9}],
        "detectors": [detector],
        "metadata": {"video_duration_sec": seconds},
    }


def test_a_long_clip_is_thinned_and_keeps_its_peak() -> None:
    (lane,) = tracks.tracks_of(report_with(600.0), EN).groups[0].lanes
    assert len(lane.points) == tracks.MAX_POINTS
    assert lane.total == 1199
    assert max(score for _, score in lane.points) == pytest.approx(0.987)
    assert lane.line.count("M") == 1  # thinned, yet one line
    assert len(lane.line) < 6000


def test_a_gap_between_windows_stays_a_gap() -> None:
    report = report_with(20.0)
    kept = report["detectors"][0]["windows"]
    report["detectors"][0]["windows"] = kept[:8] + kept[-8:]
    (lane,) = tracks.tracks_of(report, EN).groups[0].lanes
    assert lane.line.count("M") == 2


def test_flagged_stretches_lie_where_they_are_on_the_axis() -> None:
    segment = {
        "modality": "visual",
        "subject": 1,
        "start": 5.0,
        "end": 10.0,
        "score": 0.9,
        "detectors": ["visual_blend"],
    }
    report = report_with(20.0, segments=[segment])
    (span,) = tracks.tracks_of(report, EN).groups[0].lanes[0].spans
    assert (span.left, span.width) == (25.0, 25.0)
    moments, more = moments_view.moments_of(report, EN)
    assert [(one.start, one.end, one.what, one.person) for one in moments] == [
        (5.0, 10.0, "Face", "Person 1")
    ]
    assert more == 0


def test_flagged_sound_is_marked_on_the_spectrogram() -> None:
    anomaly = {"start": 1.0, "end": 2.0, "score": 0.8, "reason": "r"}
    mismatch = {"modality": "sync", "subject": 1, "start": 5.0, "end": 9.0, "detectors": ["sync"]}
    report = report_with(20.0, audio_anomalies=[anomaly], segments=[mismatch])
    shown = tracks.tracks_of(report, EN)
    assert [(one.left, one.width) for one in shown.sound_spans] == [(5.0, 5.0), (25.0, 20.0)]
    report["explanation"] = {
        "spectrogram": {"picture": {"file": "spectrogram.png"}, "start": 1.0, "end": 19.0}
    }
    place = tracks.spectrogram_of(report, shown.length)
    assert place is not None
    assert (place["left"], place["width"]) == (5.0, 90.0)


OLD: list[Any] = [
    None,
    {},
    [],
    {"prediction": None, "detectors": None},
    {"prediction": {"overall_class": "fake"}},
    {"prediction": {"overall_class": "genuine", "score": 3}},
    {"detectors": [{"name": "x"}, None, "y"], "subjects": [{}], "limits": 7},
    {"prediction": {"segments": [{}], "anomalous_frames": [{"timestamp": None}]}},
    {"explanation": {"maps": [{"frame": None}], "face_boxes": [{}], "spectrogram": {}}},
]


@pytest.mark.parametrize("report", OLD, ids=json.dumps)
def test_records_without_scores_can_be_shown(report: Any) -> None:
    verdict = verdict_view.verdict_of(report, EN)
    assert verdict.kind in {"missing", "fake"}
    assert verdict.scale is None
    verdict_view.cards_of(report, EN)
    verdict_view.limits_of(report, EN)
    moments_view.moments_of(report, EN)
    moments_view.pictures_of(report, EN)
    shown = tracks.tracks_of(report, EN)
    assert length_of(report) > 0
    assert tracks.spectrogram_of(report, shown.length) is None
    json.dumps([tracks.hover_data(shown), moments_view.overlay_of(report)])


# What a report on profile lite may say stands in these modules.
SPEAKERS = (
    *(f"detectors/{name}.py" for name in ("visual", "sync", "temporal", "audio")),
    *(f"{name}.py" for name in ("fusion", "kinds", "findings", "interval", "pipeline")),
    *(
        f"{name}.py"
        for name in ("credentials", "explanation", "explain/explainer", "profiles/__init__")
    ),
)
VALUES = ("1.5", "12", "Voice", "No face was found.", "lowers (by 1.23 logits)")


def sentences_of(module: ast.Module) -> set[str]:
    """Sentences that a module can say, `{}` where a value goes; neither comments nor errors."""
    skipped: set[int] = set()
    for node in ast.walk(module):
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if docstring or isinstance(node, ast.Raise):
            skipped.update(map(id, ast.walk(node)))
        if isinstance(node, ast.JoinedStr):
            skipped.update(map(id, node.values))
    found = set()
    for node in ast.walk(module):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [one.value if isinstance(one, ast.Constant) else "{}" for one in node.values]
            text = "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = re.sub(r"{\w+}", "{}", node.value)
        else:
            continue
        if re.fullmatch(r"([A-Z{]|only ).* .*([a-z)]\.|be judged)", text, re.DOTALL):
            found.add(text)
    return found


@pytest.mark.parametrize("language", texts.languages()[1:])
def test_whatever_a_report_of_profile_lite_says_can_be_said(language: str) -> None:
    every = set(load_profile("lite").limits)
    for name in SPEAKERS:
        every |= sentences_of(ast.parse((WEB.parent / name).read_text(encoding="utf-8")))
    every |= {"there is one picture only"}
    assert len(every) > 50
    t = texts.load(language)
    for sentence in sorted(every):
        said = [said_in(sentence.replace("{}", value), t) for value in VALUES]
        assert language in {one.language for one in said}, sentence


def test_a_sentence_is_told_with_its_values_as_the_language_writes_them() -> None:
    t = texts.load("de")
    heard = said_in("Voice: Too little speech: 1.5 s (at least 2 s in a row are needed).", t)
    assert heard.text == "Stimme: Zu wenig Sprache: 1,5 s (nötig sind mindestens 2 s am Stück)."
    two = said_in("The file has only sound. The audio track is silent.", t)
    assert two == ("Die Datei enthält nur Ton. Die Tonspur ist stumm.", "de")
    for unknown in ("Written by a later version.", "No face was found. Or was there?", "<b>x</b>"):
        assert said_in(unknown, t) == (unknown, "en")
    assert said_in("No face was found.", EN) == ("No face was found.", "en")


def test_long_sentences_of_strangers_cost_no_time() -> None:
    t, began = texts.load("de"), time.process_time()
    for text in ("of " * 330, "No face was found. " * 50, "Blurring away the marked " * 39):
        said_in(text.strip(), t)
    assert time.process_time() - began < 1.0
