"""How long an analysis may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aura.errors import AuraError

if TYPE_CHECKING:
    from aura.service.settings import Settings

CLIP_SECONDS = 30.0  # the clip that the settings' deadlines are for
GRACE_SECONDS = 15.0  # past the hard deadline before a process that does not stop is ended


class DeadlinePassed(AuraError):
    """The analysis took longer than it may."""

    kind = "deadline"


@dataclass(frozen=True)
class Deadlines:
    """Seconds since the claim: `soft` is noted, `hard` stops, `end` ends the process."""

    soft: float
    hard: float

    @property
    def end(self) -> float:
        """When whoever does not listen any more is ended."""
        return self.hard + GRACE_SECONDS

    @classmethod
    def for_clip(cls, settings: Settings, duration: float | None) -> Deadlines:
        """Clips longer than 30 s have time in proportion; of unknown length, that of the longest.

        Args:
            settings: the deadlines for 30 s.
            duration: of the clip, in seconds.
        """
        length = settings.max_duration if duration is None else duration
        scale = max(1.0, length / CLIP_SECONDS)
        return cls(settings.soft_deadline * scale, settings.hard_deadline * scale)
