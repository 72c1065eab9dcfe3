"""A report's sentences in the page's language.

A report is written in English, once and for good, and its numbers are bound to its words by a
signature. So a sentence is known by its English words: `[said]` of `texts/en.toml` has each with
the places where values go, and the other languages say the same. What is not there, such as a
sentence of another version, stays English and is marked so for screen readers.
"""

from __future__ import annotations

import re
import string
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from aura.web.texts import DEFAULT, load

if TYPE_CHECKING:
    from aura.web.texts import Texts

LONGEST = 1000  # characters of a sentence that is looked for
PREFIXES = ("said.", "detector.")
SENTENCES = re.compile(r"(?<=[.!?]) (?=[A-Z])")
DECIMAL = re.compile(r"-?\d+\.\d+")
PERCENT = re.compile(r"(\d+)\s?%")


class Said(NamedTuple):
    """Words, and the language that they are in."""

    text: str
    language: str


def said(sentence: object, t: Texts) -> Said:
    """What a report says, as the page says it."""
    text = str(sentence)
    if t.language == DEFAULT or len(text) > LONGEST:
        return Said(text, DEFAULT)
    found = _whole(text, t) or _in_parts(text, t)
    return Said(text, DEFAULT) if found is None else Said(found, t.language)


def _whole(text: str, t: Texts) -> str | None:
    for key, pattern in _patterns():
        match = pattern.fullmatch(text)
        if match:
            return t(key, **{name: _value(value, t) for name, value in match.groupdict().items()})
    return None


def _in_parts(text: str, t: Texts) -> str | None:
    """Several sentences, or one that a detector's name stands before."""
    for key, pattern in _patterns():
        named = re.match(f"{pattern.pattern}: ", text) if key in _names() else None
        rest = said(text[named.end() :], t) if named else None
        if rest is not None and rest.language != DEFAULT:
            return f"{t(key)}: {rest.text}"
    sentences = SENTENCES.split(text)
    for end in range(len(sentences) - 1, 0, -1):
        first = _whole(" ".join(sentences[:end]), t)
        rest = said(" ".join(sentences[end:]), t) if first is not None else None
        if rest is not None and rest.language != DEFAULT:
            return f"{first} {rest.text}"
    return None


def _value(value: str, t: Texts) -> str:
    if DECIMAL.fullmatch(value):
        return value.replace(".", t("page.decimal_mark"))
    share = PERCENT.fullmatch(value)
    if share:
        return t("page.percent", n=share[1])
    return _whole(value, t) or value


def _names() -> frozenset[str]:
    """Keys of what detectors are called."""
    return frozenset(
        key for key, _ in _patterns() if key.startswith("detector.") or key == "said.experimental"
    )


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Every sentence as a pattern, those with most words of their own first."""
    english = load(DEFAULT)
    found = {key: english.raw(key) for key in english.keys() if key.startswith(PREFIXES)}  # noqa: SIM118
    keys = sorted(found, key=lambda key: (-len(re.sub(r"{\w+}", "", found[key])), key))
    return [(key, re.compile(_pattern(found[key]))) for key in keys]


def _pattern(template: str) -> str:
    return "".join(
        re.escape(words) + (f"(?P<{name}>.+?)" if name else "")
        for words, name, _, _ in string.Formatter().parse(template)
    )
