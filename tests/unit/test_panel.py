"""The terminal panel: what it says, and that it fits, in any width and any character set."""

from __future__ import annotations

import io

import numpy as np
import pytest
from made_up import heard, person, plain_lite, report, silent

from aura.panel import Terminal, print_report
from aura.profiles import ErrorRates, Profile, Rate


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "talk.mp4"
    path.write_bytes(b"made-up bytes")
    return path


def bump(center, height=8.0):
    return lambda t: -3.0 + height * np.exp(-(((t - center) / 0.6) ** 2))


def shown(made, width=80, encoding="utf-8", **console):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print_report(made, Terminal(file=stream, width=width, **console))
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def lite(clip, *evidence, **options):
    return report(clip, evidence, using=options.pop("using", plain_lite()), **options)


def everything(clip):
    return lite(
        clip,
        heard("visual_blend", bump(3.0), subject=1),
        heard("visual_generated", 3.0, subject=1),
        heard("sync", 3.0, modality="sync", subject=1),
        heard("visual_blend", -3.0, subject=2),
        silent("sync", "sync", "Too little speech: 1.2 s, at least 2.4 s are needed.", 2),
        subjects=[person(1), person(2), person(3, faces=1)],
        truncated=True,
        notes=("The sound track's codec is unknown.",),
    )


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_panel_fits_every_width_and_character_set(clip, width, encoding):
    lines = shown(everything(clip), width, encoding).splitlines()
    assert {len(line.rstrip()) for line in lines} == {min(width, 120)}
    assert any("Likely manipulated" in line for line in lines)


def test_numbers_of_the_verdict_stand_in_the_panel(clip):
    made = lite(clip, heard("visual_blend", 2.0), heard("visual_generated", 1.0))
    text = shown(made)
    prediction = made.prediction
    assert f"Score {prediction.manipulation_confidence:.2f}" in text
    low, high = prediction.confidence_interval.low, prediction.confidence_interval.high
    assert f"95% interval {low:.2f} to {high:.2f}" in text
    assert "Interval widened: Lips and voice could not be judged" in text
    assert "0.88" in text  # sigmoid(2): the blend detector's own score
    assert text.count("counts 50%") == 2


def test_colour_is_never_needed_and_never_forced(clip):
    plain = shown(everything(clip))
    assert "\x1b[" not in plain
    coloured = shown(everything(clip), force_terminal=True, color_system="standard")
    assert "\x1b[" in coloured


def test_chart_rises_where_the_score_does(clip):
    text = shown(lite(clip, heard("visual_blend", bump(2.5))))
    top, bottom = (line.split("│")[2] for line in text.splitlines() if "1│" in line or "0│" in line)
    columns = 61  # of 80: what headings, frame and the chart's own axis leave
    peak = max(range(columns), key=lambda i: top[i])
    assert peak / columns == pytest.approx(2.5 / 10.0, abs=0.03)
    assert top[40:].strip() == ""
    assert bottom[40:55] == "▁" * 15


def test_chart_is_blank_where_no_face_was_seen(clip):
    made = lite(clip, heard("visual_blend", 2.0, seconds=5.0))
    text = shown(made)
    bottom = next(line for line in text.splitlines() if "0│" in line).split("│")[2]
    assert bottom[:28] == "█" * 28
    assert bottom[33:].strip() == ""


def test_worst_moments_are_told_with_their_time(clip):
    text = shown(lite(clip, heard("visual_blend", bump(3.0))))
    look = text[text.index("Look at") : text.index("Limits")]
    assert "0:03.0" in look
    assert "0:09" not in look


def test_no_moments_are_named_when_none_is_suspicious(clip):
    assert "Look at" not in shown(lite(clip, heard("visual_blend", -3.0)))


def test_a_clip_without_a_face_says_so_and_shows_no_score(clip):
    text = shown(lite(clip, subjects=[]))
    assert "◆ Uncertain" in text
    assert "No face was found" in text
    assert "Score" not in text
    assert "Over time" not in text


def test_every_person_is_listed_and_the_deciding_one_marked(clip):
    text = shown(everything(clip))
    people = text[text.index("People") : text.index("Evidence")].splitlines()
    assert "Person 1" in people[0]
    assert "(decides)" in people[0]
    assert "Person 2" in people[1]
    assert "No sign of manipulation found" in people[1]
    assert "Person 3" in people[2]
    assert "too little to judge" in people[2]
    assert "People" not in shown(lite(clip, heard("visual_blend", 1.0)))


def test_damage_and_notes_stand_under_not_judged(clip):
    text = " ".join(shown(everything(clip)).replace("│", " ").split())
    assert "The file breaks off early" in text
    assert "The sound track's codec is unknown." in text


def test_error_rates_are_told_once_they_are_measured(clip):
    def rate(value):
        return Rate(value=value, low=0.0, high=1.0, cases=80)

    measured = Profile.model_validate(
        {
            **plain_lite().model_dump(),
            "error_rates": ErrorRates(
                data_set="129 clips",
                date="2026-11-21",
                command="aura evaluate",
                real_called_manipulated=rate(0.07),
                manipulated_called_real=rate(0.31),
                uncertain=rate(0.2),
                auc=rate(0.8),
            ),
        }
    )
    text = " ".join(
        shown(lite(clip, heard("visual_blend", 1.0), using=measured)).replace("│", " ").split()
    )
    assert "On 129 clips: 7% of genuine clips were called manipulated, 31% of manipulated" in text
    assert "not been measured" not in text
    assert "not been measured" in shown(lite(clip, heard("visual_blend", 1.0)))
