"""Is the face blended in, or generated? One network, two scores that are kept apart.

`visual_blend` looks for the traces of a face pasted into a picture (border, colour, sharpness);
`visual_generated` for those of a generator. They pull apart in training and mean different things,
so neither is averaged into the other here. Network and figures: `weights/visual-lite.json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from aura.calibration import sigmoid
from aura.detectors.base import Chunk, Evidence, FrameScore, not_applicable
from aura.runtime import PICTURES, Session, load_model
from aura.windows import SlidingWindows

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES = ("visual_blend", "visual_generated")  # the network's outputs, in order
# Faces per run at most: what a chunk holds of one person, and 20 MB. Filled up to whole `PICTURES`,
# so that an engine sees few shapes.
BATCH = 8 * PICTURES


@dataclass
class _Series:
    """What is kept of one person: index, time and quality of each face, and its two logits."""

    frame_ids: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    quality: list[float] = field(default_factory=list)
    logits: list[NDArray[np.float32]] = field(default_factory=list)


class VisualDetector:
    """Scores every sampled face of every person."""

    name = "visual"

    def __init__(self, session: Session | None = None, device: str = "auto") -> None:
        self._session: Session = session or load_model("visual-lite", device)
        self._people: dict[int, _Series] = {}

    def observe(self, chunk: Chunk) -> None:
        """Run the network on the chunk's faces; all people share the batches."""
        tracks = [track for track in chunk.tracks if len(track.times)]
        if not tracks:
            return
        logits = self._logits(np.concatenate([track.crops for track in tracks]))
        start = 0
        for track in tracks:
            series = self._people.setdefault(track.subject, _Series())
            series.frame_ids += track.frame_ids.tolist()
            series.times += track.times.tolist()
            series.quality += track.quality.tolist()
            series.logits += list(logits[start : start + len(track.times)])
            start += len(track.times)

    def conclude(self) -> list[Evidence]:
        """Two entries for each person, or two that say that no face was found."""
        if not self._people:
            return [not_applicable(name, "visual", "No face was found.") for name in NAMES]
        return [
            self._evidence(column, subject, series)
            for subject, series in self._people.items()
            for column in range(len(NAMES))
        ]

    def _logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = []
        for start in range(0, len(crops), BATCH):
            part = crops[start : start + BATCH]
            whole = -(-len(part) // PICTURES) * PICTURES
            batch = np.zeros((whole, 3, *part.shape[1:3]), np.float32)
            batch[: len(part)] = part.transpose(0, 3, 1, 2)
            rows.append(self._session.run({"images": batch})["logits"][: len(part)])
        return np.concatenate(rows)

    def _evidence(self, column: int, subject: int, series: _Series) -> Evidence:
        logits = np.array([row[column] for row in series.logits], np.float64)
        times = np.array(series.times)
        scores = sigmoid(logits)
        # The clip's logit is the mean over faces: single frames err often, and alone (a blink, a
        # turned head), while a manipulated face is manipulated throughout the shots it is in.
        logit = SlidingWindows.aggregate(logits, "mean")
        return Evidence(
            detector=NAMES[column],
            modality="visual",
            subject=subject,
            status="ok",
            score=float(sigmoid(logit)),
            logit=logit,
            windows=tuple(
                SlidingWindows().gather(times, scores, float(times[0]), float(times[-1]))
            ),
            frames=tuple(
                FrameScore(frame_id, time, float(score))
                for frame_id, time, score in zip(
                    series.frame_ids, series.times, scores, strict=True
                )
            ),
            details={"faces": len(times), "mean_quality": round(float(np.mean(series.quality)), 4)},
        )
