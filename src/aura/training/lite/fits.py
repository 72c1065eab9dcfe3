"""Profiles fitted without some sources: temperatures on labelled clips, wear on copies of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aura.training.calibrate import fit
from aura.training.lite.worn import fit_wear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.profiles import Profile
    from aura.training.lite.judge import Case


class Fits:
    """What is fitted on, and the profiles fitted so far.

    Args:
        cases: the labelled clips. profile: weights and thresholds. copies: genuine clips again,
            worn in several ways; without any, wear explains nothing.
    """

    def __init__(self, cases: Sequence[Case], profile: Profile, copies: Sequence[Case] = ()):
        self.cases = tuple(cases)
        self.profile = profile
        self._copies = tuple(copies)
        self._found: dict[frozenset[str], tuple[Profile, list[str]]] = {}

    def of(self, profile: Profile) -> Fits:
        """The same clips under another profile."""
        return Fits(self.cases, profile, self._copies)

    def without(self, *sources: str) -> Profile:
        """The profile that never saw these sources."""
        return self._fit(frozenset(sources))[0]

    def on_all(self) -> tuple[Profile, list[str]]:
        """The profile fitted on everything, and what could not be fitted."""
        return self._fit(frozenset())

    def _fit(self, away: frozenset[str]) -> tuple[Profile, list[str]]:
        away &= {clip.source for clip, _ in (*self.cases, *self._copies)}
        if away not in self._found:
            fitted, notes = fit([c for c in self.cases if c[0].source not in away], self.profile)
            genuine = [
                case
                for case in (*self.cases, *self._copies)
                if not case[0].label and case[0].source not in away
            ]
            if self._copies:
                fitted = fit_wear(genuine, fitted)
            self._found[away] = (fitted, notes)
        return self._found[away]
