"""Does the face move like one that was filmed? Traces of motion in each two seconds, weighed.

A still picture that was made to move keeps its light and its texture, and takes what is beside the
head along: no single picture shows that. What is looked at stands in `motion_traces`; how much
each trace counts, and how well that works, in `weights/temporal-lite.json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from aura.calibration import sigmoid
from aura.detectors.base import Evidence, not_applicable
from aura.detectors.head_motion import HeadMotion, HeadReader, joined
from aura.detectors.motion_traces import TRACES, WINDOW, traces
from aura.runtime import Model, load_model
from aura.windows import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aura.detectors.base import Chunk

MODEL = "temporal-lite"
LEAST_RATE = 7.0  # pictures a second that steps of motion take


@dataclass
class _Person:
    reader: HeadReader = field(default_factory=HeadReader)
    parts: list[HeadMotion] = field(default_factory=list)


class TemporalDetector:
    """Watches every person's head; one object serves one clip."""

    name = "temporal"

    def __init__(self, model: Model | None = None, device: str = "auto") -> None:
        self._model = model or load_model(MODEL, device)
        self._people: dict[int, _Person] = {}

    def observe(self, chunk: Chunk) -> None:
        """Reduce the chunk's head crops to a few numbers each."""
        for track in chunk.tracks:
            person = self._people.setdefault(track.subject, _Person())
            person.parts.append(
                person.reader.read(track.mouth_times, track.heads, track.head_landmarks)
            )

    def conclude(self) -> list[Evidence]:
        """One entry for each person."""
        if not self._people:
            return [not_applicable(self.name, "temporal", "No face was found.")]
        return [
            self._evidence(subject, joined(person.parts))
            for subject, person in self._people.items()
        ]

    def _evidence(self, subject: int, motion: HeadMotion) -> Evidence:
        spans, rows = traces(motion)
        details = {"pictures": len(motion.times), "windows_judged": len(rows)}
        if not len(rows):
            reason = _too_little(motion)
            return not_applicable(self.name, "temporal", reason, subject, **details)
        out = self._model.run({"traces": rows.astype(np.float32)})["logit"]
        found = self._calibrated(np.asarray(out, np.float64).reshape(-1))
        logit, logits = float(self._of_all(found.mean())), self._of_all(found)
        return Evidence(
            self.name,
            "temporal",
            subject,
            "ok",
            score=float(sigmoid(logit)),
            logit=logit,
            windows=tuple(
                Window(float(start), float(end), float(score))
                for (start, end), score in zip(spans, sigmoid(logits), strict=True)
            ),
            details={**details, "traces": _told(rows)},
        )

    def _calibrated(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        parameters = self._model.card.parameters["clip"]
        return logits * float(parameters["slope"]) + float(parameters["bias"])

    def _of_all(self, logit: Any) -> Any:
        """From how likely a moved still is to how likely a fake is.

        Only a share of fakes are moved stills: the others move as people do, so a clip without
        traces is hardly more likely real than before. The odds can't fall below 1 - share.
        """
        share = float(self._model.card.parameters["share"])
        return np.logaddexp(logit + np.log(share), np.log1p(-share))


def _too_little(motion: HeadMotion) -> str:
    seconds = float(motion.times[-1] - motion.times[0]) if len(motion.times) else 0.0
    if len(motion.times) > 1 and (len(motion.times) - 1) / max(seconds, 1e-6) < LEAST_RATE:
        return "Too few pictures a second to see motion."
    return (
        f"The face was followed for {seconds:.1f} s with {len(motion.step_times)} steps of motion; "
        f"about a second of steps within {WINDOW:.0f} s is needed."
    )


def _told(rows: NDArray[np.float64]) -> dict[str, float]:
    """Mean of each trace over the windows, those that could be told."""
    known = {name: column[~np.isnan(column)] for name, column in zip(TRACES, rows.T, strict=True)}
    return {name: round(float(one.mean()), 3) for name, one in known.items() if len(one)}
