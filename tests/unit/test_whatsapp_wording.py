"""What the bot says is complete in each language, and fits into what WhatsApp takes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from aura.integrations.whatsapp.wording import BEGINNINGS, ERRORS, LANGUAGES, TEXTS, verdict

MAX_CAPTION = 1024  # characters of a picture's caption, as Meta allows
LINK = f"https://aura.example.org/jobs/{32 * 'a'}/artifacts/report.pdf?signature={90 * 'b'}"


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"\{(\w+)", text))


@pytest.mark.parametrize("language", TEXTS)
def test_every_language_says_the_same_things_with_the_same_values(language: str) -> None:
    english = TEXTS["en"]
    assert TEXTS[language].keys() == english.keys()
    for key, text in TEXTS[language].items():
        if key not in {"help"}:
            assert placeholders(text) == placeholders(english[key]), key
    assert set(ERRORS.values()) <= english.keys()
    assert {*LANGUAGES.values(), *BEGINNINGS} <= TEXTS.keys()


def everything(verdict_of: str) -> dict[str, Any]:
    kinds = ("visual", "temporal", "audio", "sync", "joint")
    return {
        "prediction": {
            "overall_class": verdict_of,
            "manipulation_confidence": 0.5,
            "confidence_interval": {"low": 0.1, "high": 0.9, "level": 0.9, "widened_for": []},
            "segments": [{"start": 599.0, "end": 600.0, "score": 1.0}],
            "anomalous_frames": [],
        },
        "provenance": {"input": {}},
        "subjects": [],
        "detectors": [{"modality": kind, "status": "ok"} for kind in kinds],
    }


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("found", ["fake", "real", "uncertain"])
def test_the_longest_verdict_fits_under_a_picture(language: str, found: str) -> None:
    text = verdict(language, everything(found), LINK)
    repeated = f"{TEXTS[language]['repeated']}\n{text}"
    assert len(repeated) <= MAX_CAPTION
    assert repeated.endswith(LINK)
    assert "9:59" in text
    assert "0.50" in text
