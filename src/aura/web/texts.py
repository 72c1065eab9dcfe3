"""Every word of the page, by language: `texts/en.toml` is the original, the others follow it."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "texts"
DEFAULT = "en"


class Texts:
    """One language's words, and how it writes numbers."""

    def __init__(self, language: str, words: dict[str, str]) -> None:
        self.language = language
        self._words = words

    def __call__(self, key: str, /, **values: object) -> str:
        """The words under a key, with values filled in."""
        text = self._words[key]
        return text.format(**values) if values else text

    def maybe(self, key: str, otherwise: str) -> str:
        """The words under a key that may be unknown here, such as a new detector's name."""
        return self._words.get(key, otherwise)

    def number(self, value: float, digits: int = 2) -> str:
        """A number as this language writes it."""
        return f"{value:.{digits}f}".replace(".", self._words["page.decimal_mark"])

    def percent(self, share: float) -> str:
        """A share in whole per cent."""
        return self("page.percent", n=f"{100 * share:.0f}")

    def keys(self) -> set[str]:
        """All keys."""
        return set(self._words)

    def raw(self, key: str) -> str:
        """Words as they are written, with the places where values go."""
        return self._words[key]


def languages() -> tuple[str, ...]:
    """All languages that the page speaks, the original first."""
    found = {path.stem for path in FOLDER.glob("*.toml")}
    return (DEFAULT, *sorted(found - {DEFAULT}))


@cache
def load(language: str) -> Texts:
    """The words of a language.

    Raises:
        KeyError: the page does not speak it.
    """
    if language not in languages():
        raise KeyError(language)
    text = (FOLDER / f"{language}.toml").read_text(encoding="utf-8")
    return Texts(language, dict(_flat(tomllib.loads(text))))


def chosen(wished: str | None, accepted: str | None) -> Texts:
    """The language to answer in: the one wished for, or the first accepted one that there is.

    Args:
        wished: what the user chose, if anything. accepted: an Accept-Language header.
    """
    ranges = [wished or "", *(part.split(";", 1)[0] for part in (accepted or "").split(","))]
    for one in ranges:
        language = one.strip().split("-", 1)[0].lower()
        if language in languages():
            return load(language)
    return load(DEFAULT)


def _flat(table: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    found = []
    for name, value in table.items():
        if isinstance(value, dict):
            found += _flat(value, f"{before}{name}.")
        else:
            found.append((before + name, str(value)))
    return found
